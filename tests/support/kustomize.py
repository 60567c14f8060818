"""Resolves our kustomizations: resources, components, strategic merge patches, namespace and image tags.

That is all that deploy/k8s uses; anything else in a kustomization.yaml is an error. Where a `kubectl` is installed, a
test compares with what its own kustomize makes of the same folder, so that this small stand-in cannot drift from it.
"""

import re
from pathlib import Path
from typing import Any, Final

import msgspec

Document = dict[str, Any]

_KNOWN: Final = {"apiVersion", "kind", "namespace", "resources", "components", "patches", "images"}
# Kubernetes merges these lists by the named field, and replaces all others.
_KEYS: Final = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
# Kinds whose schema kustomize does not know: every list of theirs is replaced.
_FOREIGN: Final = "keda.sh/"
_CLUSTER_WIDE: Final = ("Namespace",)


def documents(path: Path) -> list[Document]:
    """Return the documents of one YAML file."""
    return parse(path.read_text(encoding="utf-8"))


def parse(text: str) -> list[Document]:
    """Return the documents of a text."""
    parts = re.split(r"^---$", text, flags=re.MULTILINE)
    return [decoded for part in parts if (decoded := msgspec.yaml.decode(part))]


def resolve(folder: Path) -> list[Document]:
    """Return the objects that `kubectl apply -k folder` would send.

    Raises:
        ValueError: a patch has nothing to change, or the kustomization uses what this does not know.
    """
    found: list[Document] = []
    _add(folder, found)
    return found


def _add(folder: Path, found: list[Document]) -> None:
    (kustomization,) = documents(folder / "kustomization.yaml")
    if unknown := kustomization.keys() - _KNOWN:
        raise ValueError(f"{folder}/kustomization.yaml: {', '.join(sorted(unknown))} is not known here")
    for name in kustomization.get("resources", []):
        if (folder / name).is_dir():
            _add(folder / name, found)
        else:
            found += documents(folder / name)
    for name in kustomization.get("components", []):
        _add(folder / name, found)
    for patch in kustomization.get("patches", []):
        for change in documents(folder / patch["path"]):
            _patch(found, change)
    for document in found:
        if "namespace" in kustomization and document["kind"] not in _CLUSTER_WIDE:
            document["metadata"]["namespace"] = kustomization["namespace"]
        for image in kustomization.get("images", []):
            _tag(document, image["name"], image["newTag"])


def _patch(found: list[Document], change: Document) -> None:
    for index, document in enumerate(found):
        if _identity(document) == _identity(change):
            found[index] = _merged(document, change, "", lists=not change["apiVersion"].startswith(_FOREIGN))
            return
    raise ValueError(f"a patch changes {_identity(change)}, which does not exist")


def _identity(document: Document) -> tuple[str, str, str]:
    return document["apiVersion"], document["kind"], document["metadata"]["name"]


def _merged(old: Any, new: Any, field: str, *, lists: bool) -> Any:
    if isinstance(old, dict) and isinstance(new, dict):
        kept = {key: value for key, value in old.items() if key not in new}
        put = {key: _merged(old.get(key), value, key, lists=lists) for key, value in new.items() if value is not None}
        return kept | put
    if isinstance(old, list) and isinstance(new, list) and lists and field in _KEYS:
        key = _KEYS[field]
        given = {item[key]: item for item in new}
        kept_items = [_merged(item, given.pop(item[key], item), "", lists=lists) for item in old]
        return kept_items + list(given.values())
    return new


def _tag(node: Any, name: str, tag: str) -> None:
    if isinstance(node, dict):
        if node.get("image") == name:
            node["image"] = f"{name}:{tag}"
        for value in node.values():
            _tag(value, name, tag)
    elif isinstance(node, list):
        for value in node:
            _tag(value, name, tag)
