"""Every stateful metric is found by itself and held to the one contract."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from app.microstructure import metrics

_FILES = [path for path in Path(metrics.__path__[0]).glob("*.py") if path.stem not in ("__init__", "contract")]


def _stateful() -> list[type[Any]]:
    modules = [import_module(f"app.microstructure.metrics.{path.stem}") for path in _FILES]
    classes = [
        each
        for module in modules
        for _, each in inspect.getmembers(module, inspect.isclass)
        if each.__module__ == module.__name__
    ]
    return [each for each in classes if hasattr(each, "snapshot")]


@pytest.mark.parametrize("metric", _stateful(), ids=lambda metric: metric.__name__)
def test_a_stateful_metric_updates_snapshots_and_restores(metric: type[Any]) -> None:
    assert next(iter(inspect.signature(metric.update).parameters)) == "self"
    assert len(inspect.signature(metric.update).parameters) == 2
    assert list(inspect.signature(metric.snapshot).parameters) == ["self"]
    assert next(iter(inspect.signature(metric.restore).parameters)) == "state"


def test_metrics_are_found() -> None:
    assert "TradeFlow" in {metric.__name__ for metric in _stateful()}


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_every_metric_has_tests_of_its_own(path: Path) -> None:
    assert (Path(__file__).parent / f"test_{path.stem}.py").exists()


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_every_metric_says_in_its_docstring_what_it_is(path: Path) -> None:
    assert len(import_module(f"app.microstructure.metrics.{path.stem}").__doc__ or "") > 100
