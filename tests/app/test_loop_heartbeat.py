import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.loop_heartbeat import Heartbeat

Loop = asyncio.AbstractEventLoop


@pytest.fixture
def workers_loop() -> Iterator[Loop]:
    """Give a loop that turns in another thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextmanager
def hanging(loop: Loop) -> Iterator[None]:
    """Let a loop of another thread hang."""
    begun, end = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        end.wait()

    loop.call_soon_threadsafe(hang)
    begun.wait()
    try:
        yield
    finally:
        end.set()


class Group:
    """Takes heartbeats, and refuses all but the first."""

    def __init__(self) -> None:
        self.heard = 0

    async def take(self) -> bool:
        self.heard += 1
        return self.heard == 1


async def test_heartbeats_are_sent_and_their_answers_told_while_the_workers_loop_turns(workers_loop: Loop) -> None:
    group = Group()
    heartbeat = Heartbeat(workers_loop, group.take, lambda: 60.0)
    assert [await heartbeat.beat() for _ in range(3)] == [True, False, False]
    assert group.heard == 3


async def test_no_heartbeat_is_sent_while_the_workers_loop_hangs(workers_loop: Loop) -> None:
    group = Group()
    heartbeat = Heartbeat(workers_loop, group.take, lambda: 0.0)
    with hanging(workers_loop), pytest.raises(TimeoutError):
        await asyncio.wait_for(heartbeat.beat(), 0.1)
    assert group.heard == 0
    assert await heartbeat.beat()
    assert group.heard == 1, "what was given up is not sent later"


async def test_a_loop_that_is_busy_for_less_than_our_patience_delays_none(workers_loop: Loop) -> None:
    group = Group()
    heartbeat = Heartbeat(workers_loop, group.take, lambda: 60.0)
    with hanging(workers_loop):
        await heartbeat.beat()
        await heartbeat.beat()
        assert group.heard == 2


async def test_patience_may_grow_while_the_loop_owes_a_turn(workers_loop: Loop) -> None:
    group, patience = Group(), [0.0]
    heartbeat = Heartbeat(workers_loop, group.take, lambda: patience[-1])
    with hanging(workers_loop):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(heartbeat.beat(), 0.1)
        patience.append(60.0)
        assert await heartbeat.beat()
        assert group.heard == 1
