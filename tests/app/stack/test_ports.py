import socket
from pathlib import Path

import pytest

from app.stack.errors import StackError
from app.stack.ports import Ports, free_ports, is_free, require_free


def _listen() -> socket.socket:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", 0))
    server.listen()
    return server


@pytest.mark.parametrize("base", [None, 20000, 1024, 65236])
def test_no_two_services_share_a_port(base: int | None) -> None:
    ports = Ports.from_base(base).by_service(workers=100)
    assert len(set(ports.values())) == len(ports) == 6 + 200


def test_the_reader_is_on_8080_by_default() -> None:
    assert Ports().reader == 8080
    assert Ports().of_worker(0) == (6066, 9101)


def test_a_port_base_moves_every_port_into_its_block() -> None:
    ports = Ports.from_base(20000)
    assert ports.reader == 20000
    assert all(20000 <= port < 20300 for port in ports.by_service(workers=100).values())


@pytest.mark.parametrize("base", [0, 1023, 65237, -5])
def test_a_port_base_outside_the_range_is_refused_with_what_is_allowed(base: int) -> None:
    with pytest.raises(StackError, match=rf"PORT_BASE={base} .* from 1024 to 65236"):
        Ports.from_base(base)


@pytest.mark.parametrize("index", [-1, 100])
def test_a_worker_beyond_the_last_has_no_ports(index: int) -> None:
    with pytest.raises(StackError, match="at most 100 workers"):
        Ports().of_worker(index)


def test_free_ports_are_distinct_and_not_of_those_that_connections_get() -> None:
    found = free_ports(50) + free_ports(50)
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(found)) == 100
    assert all(is_free(port) and port < lowest for port in found)


def test_a_taken_port_gives_one_line_that_names_port_service_and_port_base() -> None:
    with _listen() as server:
        port = server.getsockname()[1]
        with pytest.raises(StackError) as caught:
            require_free(port, "reader")
    message = str(caught.value)
    assert f"port {port} (reader)" in message
    assert "PORT_BASE" in message
    assert "\n" not in message


def test_the_whole_system_is_checked_at_once() -> None:
    with _listen() as server:
        reader, exchange, producer, kafka, controller = free_ports(5)
        ports = Ports(reader, exchange, producer, kafka, controller, redis=server.getsockname()[1])
        with pytest.raises(StackError, match=r"\(redis\) is taken"):
            ports.require_free(workers=0)


def test_a_port_with_lingering_connections_counts_as_free() -> None:
    with _listen() as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""
    assert is_free(port)


def test_free_ports_are_distinct_and_free() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert all(map(is_free, ports))
