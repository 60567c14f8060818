"""YAML files of the project, read."""

from pathlib import Path
from typing import Any

import yaml


def read_yaml(path: Path) -> Any:
    """Return the one document of a file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def read_all_yaml(path: Path) -> list[Any]:
    """Return every document of a file."""
    return list(yaml.safe_load_all(path.read_text(encoding="utf-8")))
