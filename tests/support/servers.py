"""Starting a server for tests: where it cannot be started, the test is skipped with the reason, or fails in CI."""

import os
from collections.abc import Callable
from typing import Protocol

import pytest

from app.stack.errors import StackError


class Startable(Protocol):
    """A server, or several."""

    def start(self) -> object:
        """Start; raises `StackError`."""


def started[Server: Startable](make: Callable[[], Server]) -> Server:
    """Return the server that `make` gives, started; otherwise end the test with the reason."""
    try:
        server = make()
        server.start()
    except StackError as error:
        reason = str(error)
    else:
        return server
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason.splitlines()[0])
