"""Redis as docker-compose.yml starts it: deploy/redis/start.sh with the real server, users and settings."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.stack.ports import free_ports
from app.stack.redis import RedisServer, find_redis
from support.compose import ROOT

PASSWORDS: Final = {"REDIS_WORKER_PASSWORD": "w0rker-password", "REDIS_READER_PASSWORD": "r3ader_password"}


def _folder(made: Path, port: int) -> Path:
    """Return a folder as the container has it, but for the port and the address."""
    (made / "redis-users.acl").write_bytes((ROOT / "deploy" / "redis-users.acl").read_bytes())
    text = (ROOT / "deploy" / "redis" / "redis.conf").read_text()
    text = text.replace("bind * -::*", "bind 127.0.0.1").replace("port 6379", f"port {port}")
    (made / "redis.conf").write_text(text)
    return made


def _command(folder: Path) -> list[str]:
    return ["/bin/sh", str(ROOT / "deploy" / "redis" / "start.sh"), str(folder), str(find_redis()[0])]


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    (port,) = free_ports(1)
    environment = {**os.environ, **PASSWORDS, "USERS_FILE": str(tmp_path / "users.acl")}
    command = _command(_folder(tmp_path, port))
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any("Ready to accept connections" in line for line in server.stdout)
        yield port
        server.terminate()


@pytest.mark.stack
def test_users_have_the_passwords_of_the_environment_and_nobody_else_comes_in(port: int, tmp_path: Path) -> None:
    for user, password in (("worker", "w0rker-password"), ("reader", "r3ader_password")):
        with redis.Redis(port=port, username=user, password=password) as client:
            assert client.ping()
    strangers = [(None, None), ("worker", "CHANGE-THE-WORKER-PASSWORD"), ("default", "")]
    for name, wrong in strangers:
        with (
            redis.Redis(port=port, username=name, password=wrong, retry=Retry(NoBackoff(), 0)) as client,
            pytest.raises((redis.AuthenticationError, redis.exceptions.NoPermissionError)),
        ):
            client.ping()
    assert (tmp_path / "users.acl").stat().st_mode & 0o077 == 0


@pytest.mark.stack
def test_it_evicts_nothing_and_keeps_nothing_on_disk(port: int, tmp_path: Path) -> None:
    with redis.Redis(port=port, username="worker", password="w0rker-password") as client:
        client.set("report:BTCUSDT", "{}")
    configuration = (tmp_path / "redis.conf").read_text()
    assert "maxmemory-policy noeviction" in configuration
    assert 'save ""' in configuration
    assert sorted(file.name for file in tmp_path.iterdir()) == ["redis-users.acl", "redis.conf", "users.acl"]


@pytest.mark.stack
def test_the_file_of_users_can_be_loaded_as_it_is(tmp_path: Path) -> None:
    # Redis takes no comments in it: with one it does not start.
    with (
        RedisServer(tmp_path, users=ROOT / "deploy" / "redis-users.acl") as server,
        redis.Redis.from_url(server.url, username="reader", password="CHANGE-THE-READER-PASSWORD") as client,
    ):
        assert client.ping()


@pytest.mark.parametrize("bad", ["", "a b", "a>b", "a/b", "a\nuser x on nopass"])
def test_a_password_that_could_be_a_rule_is_refused(bad: str, tmp_path: Path) -> None:
    environment = {**PASSWORDS, "REDIS_READER_PASSWORD": bad, "USERS_FILE": str(tmp_path / "users.acl"), "PATH": "/bin"}
    command = [*_command(_folder(tmp_path, 1))[:3], "true"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert answer.returncode != 0
    assert "REDIS_READER_PASSWORD" in answer.stderr
    assert not bad or bad not in answer.stderr
