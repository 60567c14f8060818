import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from report_server.guard import Guard, RateLimit
from report_server.tokens import Tokens

TOKENS = "alice:0123456789abcdef\nbob:fedcba9876543210\n"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tokens(tmp_path: Any) -> Tokens:
    path = tmp_path / "tokens"
    path.write_text(TOKENS)
    return Tokens(path)


async def asked(guard: Guard, path: str = "/get_report", client: str = "10.0.0.1", *headers: tuple[str, str]) -> Any:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    encoded = [(name.encode(), value.encode()) for name, value in headers]
    scope: Scope = {"type": "http", "method": "GET", "path": path, "headers": encoded, "client": (client, 1)}
    await guard(scope, receive, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


@pytest.mark.parametrize("token", ["0123456789abcdef", "fedcba9876543210"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_each_token_lets_its_holder_in(tokens: Tokens, scheme: str, token: str) -> None:
    guard = Guard(inner, tokens, None)

    assert (await asked(guard, "/mcp-like", "10.0.0.1", ("authorization", f"{scheme} {token}")))[2] == b"in"


@pytest.mark.parametrize("path", ["/", "/board/board.js"])
async def test_the_files_of_the_board_need_no_token_but_count_for_the_rate(tokens: Tokens, path: str) -> None:
    guard = Guard(inner, tokens, RateLimit(1, Clock()))

    answers = [(await asked(guard, path))[0] for _ in range(3)]

    assert answers == [200, 200, 429]


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", "Bearer 0123456789abcdeF"),),
        (("authorization", "Bearer 0123456789abcde"),),
        (("authorization", "Basic 0123456789abcdef"),),
        (("authorization", "Bearer alice:0123456789abcdef"),),
        (("authorization", "Bearer 0123456789abcdef"), ("authorization", "Bearer x")),
    ],
)
@pytest.mark.parametrize("path", ["/get_report", "/mcp", "/metrics", "/openapi.json", "/board", "/health/x"])
async def test_without_a_valid_token_there_is_nothing(
    tokens: Tokens, path: str, headers: tuple[tuple[str, str], ...]
) -> None:
    status, reply_headers, body = await asked(Guard(inner, tokens, None), path, "10.0.0.1", *headers)

    assert status == 401
    assert reply_headers[b"www-authenticate"] == b"Bearer"
    assert "token is needed" in json.loads(body)["error"]


async def test_health_needs_no_token_and_is_not_counted(tokens: Tokens) -> None:
    guard = Guard(inner, tokens, RateLimit(1))

    for _ in range(5):
        assert (await asked(guard, "/health/live"))[0] == 200


async def test_a_client_that_asks_too_often_is_told_when_to_come_back_and_others_are_not() -> None:
    clock = Clock()
    guard = Guard(inner, None, RateLimit(5, clock))

    statuses = [(await asked(guard))[0] for _ in range(12)]
    status, headers, _ = await asked(guard)

    assert statuses == [200] * 10 + [429] * 2
    assert (status, headers[b"retry-after"]) == (429, b"1")
    assert (await asked(guard, "/get_report", "10.0.0.2"))[0] == 200
    clock.now += 0.2
    assert [(await asked(guard))[0] for _ in range(2)] == [200, 429]


async def test_holders_of_tokens_have_their_own_count_wherever_they_call_from(tokens: Tokens) -> None:
    guard = Guard(inner, tokens, RateLimit(1, Clock()))
    alice, bob = (("authorization", f"Bearer {token}") for token in ("0123456789abcdef", "fedcba9876543210"))

    statuses = [(await asked(guard, "/x", f"10.0.0.{number}", alice))[0] for number in range(3)]

    assert statuses == [200, 200, 429]
    assert (await asked(guard, "/x", "10.0.0.1", bob))[0] == 200


def test_made_up_clients_take_no_more_memory_than_there_is_for_them() -> None:
    limit = RateLimit(1, Clock())

    for number in range(25_000):
        limit.wait_sec(str(number))

    assert len(limit) == 10_000


def test_while_clients_are_forgotten_before_their_bucket_is_full_newcomers_begin_with_one_request() -> None:
    clock = Clock()
    limit = RateLimit(5, clock)
    for number in range(10_000):
        limit.wait_sec(str(number))

    assert [limit.wait_sec("newcomer") == 0 for _ in range(3)] == [True, False, False]
    clock.now += 2.0
    assert [limit.wait_sec("later") == 0 for _ in range(11)] == [True] * 10 + [False]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("no:address", "no:address", True),
    ],
)
async def test_a_client_is_an_address_and_of_ipv6_its_network(one: str, other: str, same: bool) -> None:
    guard = Guard(inner, None, RateLimit(1, Clock()))
    for _ in range(2):
        await asked(guard, "/get_report", one)
    assert ((await asked(guard, "/get_report", other))[0] == 429) is same


async def test_who_tries_tokens_is_slowed_down_and_a_holder_at_the_same_address_is_not(tokens: Tokens) -> None:
    guard = Guard(inner, tokens, None)
    wrong, right = (("authorization", f"Bearer {token}") for token in ("x" * 16, "0123456789abcdef"))

    statuses = [(await asked(guard, "/x", "10.0.0.1", wrong))[0] for _ in range(30)]

    assert statuses[:20] == [401] * 20
    assert 429 in statuses
    assert (await asked(guard, "/x", "10.0.0.1", right))[0] == 200
    assert (await asked(guard, "/x", "10.0.0.2", wrong))[0] == 401


async def test_a_get_of_mcp_is_refused_rather_than_left_hanging() -> None:
    status, headers, _ = await asked(Guard(inner, None, None), "/mcp")

    assert (status, headers[b"allow"]) == (405, b"POST")
