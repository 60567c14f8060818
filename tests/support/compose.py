"""Reads docker-compose.yml as Compose does, as far as ours uses it: anchors, and `${NAME:-default}` from a mapping."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

ROOT: Final = Path(__file__).parents[2]
PATH: Final = ROOT / "docker-compose.yml"
# What must be given to it.
PASSWORDS: Final = {
    "REDPANDA_PASSWORD": "k4fka",
    "REDIS_WORKER_PASSWORD": "w0rker",
    "REDIS_READER_PASSWORD": "r3ader",
    "GRAFANA_ADMIN_PASSWORD": "adm1n",
}
_VARIABLE: Final = re.compile(r"\$(?:\$|\{(?P<name>[A-Z0-9_]+)(?::(?P<how>[-?])(?P<rest>[^}]*))?\})")


class MissingVariableError(ValueError):
    """A variable that must be given is not; the message is the file's own."""


def services(environ: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return every service with its variables filled in from `environ`.

    Raises:
        MissingVariableError: one that must be given is not.
    """
    content: dict[str, dict[str, Any]] = _filled(msgspec.yaml.decode(PATH.read_text(encoding="utf-8")), environ)
    return content["services"]


def variables() -> dict[str, str]:
    """Return each variable that the file takes from outside, and how: `-` for a default, `?` for one that must be."""
    text = PATH.read_text(encoding="utf-8")
    return {match["name"]: match["how"] for match in _VARIABLE.finditer(text) if match["name"]}


def _filled(node: Any, environ: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _filled(value, environ) for key, value in node.items()}
    if isinstance(node, list):
        return [_filled(value, environ) for value in node]
    return _VARIABLE.sub(lambda match: _value(match, environ), node) if isinstance(node, str) else node


def _value(match: "re.Match[str]", environ: Mapping[str, str]) -> str:
    if match["name"] is None:
        return "$"
    given = environ.get(match["name"], "")
    if not given and match["how"] == "?":
        raise MissingVariableError(f"{match['name']}: {match['rest']}")
    return given or match["rest"] or ""
