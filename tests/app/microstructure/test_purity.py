import ast
from pathlib import Path

import pytest

CORE = Path(__file__).parents[3] / "app" / "microstructure"
ALLOWED = {
    "app.microstructure",
    "array",
    "bisect",
    "collections",
    "collections.abc",
    "datetime",
    "enum",
    "functools",
    "itertools",
    "math",
    "msgspec",
    "numpy",
    "operator",
    "re",
    "typing",
}


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_core_imports_nothing_that_does_io(path: Path) -> None:
    tree = ast.parse(path.read_text())
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    foreign = {name for name in names if not any(name == ok or name.startswith(f"{ok}.") for ok in ALLOWED)}
    assert not foreign


@pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=lambda path: path.stem)
def test_the_core_reads_no_clock(path: Path) -> None:
    tree = ast.parse(path.read_text())
    calls = [
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    ]
    assert not {"now", "utcnow", "today", "time_ns", "monotonic", "monotonic_ns"} & set(calls)
