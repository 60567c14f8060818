"""A broker that takes connections and says nothing is left alone, and asked again when it may have come to itself."""

import socket
from collections.abc import Iterator

import pytest
from aiokafka import client
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import BrokerMetadata

from app.kafka_connections import Connections
from app.stack.ports import free_ports


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Give a server that takes every connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def came(server: socket.socket) -> int:
    """Return how many connections have come since the last look."""
    count = 0
    while True:
        try:
            server.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


async def test_a_silent_broker_is_left_alone_for_a_while(silent: socket.socket) -> None:
    connections, (host, port) = Connections(spared_sec=3600), silent.getsockname()
    with pytest.raises(TimeoutError):
        await connections.connect(host, port, request_timeout_ms=100)
    assert came(silent) == 1
    with pytest.raises(KafkaConnectionError, match=f"{host}:{port} was silent a moment ago"):
        await connections.connect(host, port, request_timeout_ms=100)
    assert came(silent) == 0


async def test_after_a_while_it_is_asked_again(silent: socket.socket) -> None:
    connections, (host, port) = Connections(spared_sec=0), silent.getsockname()
    for _ in range(2):
        with pytest.raises(TimeoutError):
            await connections.connect(host, port, request_timeout_ms=100)
        assert came(silent) == 1


@pytest.mark.stack
async def test_another_broker_is_reached_meanwhile(silent: socket.socket, kafka: str) -> None:
    connections, (host, port) = Connections(spared_sec=3600), silent.getsockname()
    with pytest.raises(TimeoutError):
        await connections.connect(host, port, request_timeout_ms=100)
    connection = await connections.connect("127.0.0.1", int(kafka.rpartition(":")[2]))
    assert connection.connected()
    await connection.close()


@pytest.mark.stack
async def test_a_client_whose_known_brokers_are_all_gone_finds_those_of_its_settings_again(
    kafka: str,
) -> None:
    (nobody,) = free_ports(1)
    lost = client.AIOKafkaClient(bootstrap_servers=kafka)
    await lost.bootstrap()
    known = lost.cluster.brokers()
    lost.cluster._brokers = {7: BrokerMetadata(7, "127.0.0.1", nobody, None)}
    assert await lost.force_metadata_update()
    assert lost.cluster.brokers() == known
    await lost.close()


def test_every_client_of_the_process_connects_like_this() -> None:
    import app.security.kafka  # noqa: F401  # which all of them get their arguments from

    assert client.create_conn.__func__ is Connections.connect
