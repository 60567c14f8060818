"""Let NautilusTrader's engine start: pandas does there what numpy warns of, and here warnings are errors."""

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark this folder's tests only."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:The 'generic' unit for NumPy:DeprecationWarning"))
