import asyncio
from pathlib import Path

import pytest
from starlette.types import Message, Receive, Scope, Send

from report_server.held_streams import HeldStreams
from report_server.tokens import Tokens

ALICE = b"Bearer 0123456789abcdef"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Streams:
    """An app that streams until it is cancelled, and what it has sent."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.file = folder / "tokens"
        self.file.write_text("alice:0123456789abcdef\nbob:fedcba9876543210\n")
        self.held = HeldStreams(self.app, Tokens(self.file, self.clock), look_sec=0.01)
        self.sent: list[Message] = []
        self.ended = 0

    async def app(self, _: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        try:
            await asyncio.Event().wait()  # nothing new to say
        finally:
            self.ended += 1

    def open(self, authorization: bytes) -> asyncio.Task[None]:
        async def send(message: Message) -> None:
            self.sent.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        return asyncio.create_task(self.held.run({"type": "http"}, receive, send, authorization))

    def revoke(self) -> None:
        self.file.write_text("bob:fedcba9876543210\n")
        self.clock.now += 1.1


@pytest.fixture
def streams(tmp_path: Path) -> Streams:
    return Streams(tmp_path)


async def test_a_stream_whose_token_goes_is_ended_in_order_and_others_stay(streams: Streams) -> None:
    alices, bobs = streams.open(ALICE), streams.open(b"Bearer fedcba9876543210")
    await asyncio.sleep(0.05)
    assert not alices.done()
    streams.revoke()

    await asyncio.wait_for(alices, 5)

    assert streams.ended == 1
    assert streams.sent[-1] == {"type": "http.response.body"}, "the end of the answer, so that clients see no error"
    await asyncio.sleep(0.05)
    assert not bobs.done()
    bobs.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bobs


async def test_a_stream_that_is_cancelled_for_another_reason_is_cancelled(streams: Streams) -> None:
    stream = streams.open(ALICE)
    await asyncio.sleep(0.02)
    stream.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream
    assert streams.sent[-1]["body"] == b"first"


async def test_nobody_watches_while_no_stream_is_open(streams: Streams) -> None:
    stream = streams.open(ALICE)
    await asyncio.sleep(0.02)
    watching = streams.held._watching
    assert watching is not None
    streams.revoke()
    await asyncio.wait_for(stream, 5)
    await asyncio.wait_for(watching, 5)
