from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

from app import aiokafka_cures


class Connection(AIOKafkaConnection):
    """One to a broker, whose transport raises `error` when it is written to."""

    def __init__(self, error: Exception) -> None:
        super().__init__("127.0.0.1", 1)
        self.closed_for: list[Any] = []
        self._versions = {3: (0, 5)}

        def write(_: bytes) -> None:
            raise error

        self._writer = SimpleNamespace(write=write)

    def close(self, reason: Any = None, exc: Any = None) -> Any:
        self.closed_for.append(reason)


@pytest.fixture(autouse=True)
def installed(event_loop_policy: Any) -> None:
    aiokafka_cures.install()


async def test_uvloops_word_for_a_closed_transport_is_a_connection_that_is_lost() -> None:
    connection = Connection(
        RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")
    )
    with pytest.raises(KafkaConnectionError, match="is closed"):
        connection.send(MetadataRequest([]))
    assert connection.closed_for == [CloseReason.CONNECTION_BROKEN]


async def test_any_other_error_is_what_it_was() -> None:
    with pytest.raises(RuntimeError, match="something else"):
        Connection(RuntimeError("something else")).send(MetadataRequest([]))
