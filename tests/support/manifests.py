"""The manifests of deploy/k8s, resolved, and what tests look for in them."""

from typing import Final

from support import kustomize
from support.compose import ROOT
from support.kustomize import Document

K8S: Final = ROOT / "deploy" / "k8s"
FOLDERS: Final = {"base": K8S / "base", "external": K8S / "overlays" / "external"}
BROKERS: Final = kustomize.resolve(K8S / "brokers")
OBJECTS: Final = {name: kustomize.resolve(folder) for name, folder in FOLDERS.items()}


def kind(folder: str, *kinds: str) -> dict[str, Document]:
    """Return the objects of these kinds by their names."""
    return {found["metadata"]["name"]: found for found in OBJECTS[folder] if found["kind"] in kinds}


def pods(folder: str) -> dict[str, Document]:
    """Return the pod template of each workload by its name."""
    return {name: found["spec"]["template"] for name, found in kind(folder, "Deployment", "Job").items()}


def container_of(pod: Document) -> Document:
    """Return the one container of a pod."""
    (container,) = pod["spec"]["containers"]
    return dict(container)
