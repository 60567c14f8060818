"""What tests that type commands share."""

import os
from collections.abc import Iterator

import pytest

from app.stack.errors import StackError
from app.stack.ports import Ports
from support.own_network import OwnNetwork


@pytest.fixture
def network() -> Iterator[OwnNetwork]:
    """Give a network in which the ports that the pages name are free."""
    with OwnNetwork() as made:
        if not made.isolated:
            try:
                Ports().require_free(2)
            except StackError as error:
                reason = f"the pages use default ports: {error}"
                if os.environ.get("CI") == "true":
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)
        yield made
