"""The commands run in this process and quieten a logger that other tests listen to."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _logger_as_before() -> Iterator[None]:
    logger = logging.getLogger("report_server")
    level = logger.level
    yield
    logger.setLevel(level)
