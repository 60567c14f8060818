"""Who may work with Redis, tried on the real server with users of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis

from app.security.errors import AccessError
from app.security.redis import missing_rights, redis_refusal, require_redis
from app.settings import Settings, load

USERS = (Path(__file__).parents[3] / "deploy" / "redis-users.acl").read_text(encoding="utf-8").splitlines()


@pytest.fixture
async def as_user(redis_url: str) -> AsyncIterator[Callable[..., Awaitable[Settings]]]:
    """Load the users of deploy/; give settings for one of them, with rules of its own behind those of the file."""
    admin: Any = Redis.from_url(redis_url)
    made = []
    async with admin:

        async def settings(name: str, *rules: str, password: str = "pw") -> Settings:
            line = next(line for line in USERS if line.startswith(f"user {name} "))
            await admin.execute_command("ACL", "SETUSER", *line.split()[1:], "resetpass", ">pw", *rules)
            made.append(name)
            url = redis_url.replace("//", f"//{name}@")
            return load({"REDIS_URL": url, "REDIS_PASSWORD": password}, None)

        yield settings
        await admin.execute_command("ACL", "DELUSER", *made)


@pytest.mark.parametrize(("user", "writes"), [("worker", True), ("reader", False)])
async def test_the_users_of_the_project_may_do_their_work(
    as_user: Callable[..., Awaitable[Settings]], user: str, writes: bool
) -> None:
    await require_redis(await as_user(user), writes=writes)


@pytest.mark.parametrize(
    ("user", "writes", "rule", "missing"),
    [
        ("worker", True, "-incr", ["INCR report:writer:token:access"]),
        ("worker", True, "-evalsha", ["EVALSHA on report:*"]),
        ("worker", True, "-script", ["SCRIPT LOAD"]),
        ("reader", True, "", ["SCRIPT LOAD"]),
        ("reader", False, "-mget", ["MGET report:*"]),
        ("reader", False, "-scan", ["SCAN"]),
    ],
)
async def test_a_missing_right_is_named(
    as_user: Callable[..., Awaitable[Settings]], user: str, writes: bool, rule: str, missing: list[str]
) -> None:
    config = await as_user(user, *filter(None, [rule]))
    assert await missing_rights(config, writes=writes) == missing
    with pytest.raises(AccessError, match=r"deploy/redis-users\.acl") as refused:
        await require_redis(config, writes=writes)
    assert missing[0] in str(refused.value)


@pytest.mark.parametrize(("user", "writes", "missing"), [("worker", True, "PUBLISH"), ("reader", False, "SUBSCRIBE")])
async def test_who_may_not_use_the_channel_is_let_in_all_the_same(
    as_user: Callable[..., Awaitable[Settings]], user: str, writes: bool, missing: str
) -> None:
    config = await as_user(user, "resetchannels")
    assert await missing_rights(config, writes=writes) == [f"{missing} report:changes"]
    await require_redis(config, writes=writes)


async def test_looking_for_rights_writes_nothing(as_user: Callable[..., Awaitable[Settings]], redis_url: str) -> None:
    await missing_rights(await as_user("worker"), writes=True)
    async with Redis.from_url(redis_url) as admin:
        assert await admin.dbsize() == 0


async def test_a_wrong_password_is_refused_and_shown_to_nobody(as_user: Callable[..., Awaitable[Settings]]) -> None:
    with pytest.raises(AccessError, match="check the user in REDIS_URL, REDIS_PASSWORD") as refused:
        await require_redis(await as_user("worker", password="wrong-5f5f"), writes=True)
    assert "wrong-5f5f" not in repr(refused.value)
    assert "\n" not in str(refused.value)


def test_a_redis_that_is_away_refuses_nobody() -> None:
    assert redis_refusal(Settings(redis_url="redis://127.0.0.1:1/0"), writes=True) is None


@pytest.mark.parametrize(("user", "writes"), [("worker", True), ("reader", False)])
async def test_the_users_of_the_project_may_work_in_any_database(
    as_user: Callable[..., Awaitable[Settings]], user: str, writes: bool
) -> None:
    config = await as_user(user)
    other = msgspec.structs.replace(config, redis_url=config.redis_url.removesuffix("/0") + "/3")
    assert await missing_rights(other, writes=writes) == []


async def test_a_prefix_needs_rights_of_its_own(as_user: Callable[..., Awaitable[Settings]]) -> None:
    config = msgspec.structs.replace(await as_user("worker"), redis_prefix="staging:")
    assert await missing_rights(config, writes=True) == ["EVALSHA on staging:report:*"]
    await as_user("worker", "~staging:report:*", "&staging:report:changes")
    assert await missing_rights(config, writes=True) == []
    config = msgspec.structs.replace(await as_user("reader"), redis_prefix="staging:")
    lacks = ["MGET staging:report:*", "SUBSCRIBE staging:report:changes"]
    assert await missing_rights(config, writes=False) == lacks
    await as_user("reader", "%R~staging:report:*", "&staging:report:changes")
    assert await missing_rights(config, writes=False) == []
