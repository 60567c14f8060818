import asyncio
from collections.abc import Sequence

import pytest

from app.stores.base import StoreUnavailableError
from app.stores.shared_reads import PROBE, SharedReads


class Source:
    """A store whose rounds the test answers by hand, in order."""

    def __init__(self) -> None:
        self.rounds: list[tuple[list[str], asyncio.Future[list[bytes | None]]]] = []
        self.asked = asyncio.Event()

    async def read_many(self, symbols: Sequence[str]) -> dict[str, bytes | None]:
        answer: asyncio.Future[list[bytes | None]] = asyncio.get_running_loop().create_future()
        self.rounds.append((list(symbols), answer))
        self.asked.set()
        return dict(zip(symbols, await answer, strict=True))

    async def next_round(self, count: int) -> tuple[list[str], asyncio.Future[list[bytes | None]]]:
        """Wait until the store was asked `count` times, and return the last."""
        async with asyncio.timeout(10):
            while len(self.rounds) < count:
                self.asked.clear()
                await self.asked.wait()
        return self.rounds[count - 1]


def reading(reads: SharedReads[bytes | None], *symbols: str) -> list[asyncio.Task[bytes | None]]:
    return [asyncio.create_task(reads.read(symbol)) for symbol in symbols]


async def test_what_is_asked_while_a_round_is_under_way_is_one_round_and_each_gets_its_own() -> None:
    source = Source()
    tasks = reading(SharedReads(source.read_many, 10.0), "XX", "AA", "BB", "AA")

    alone, first = await source.next_round(1)
    first.set_result([b"x"])
    symbols, answer = await source.next_round(2)
    answer.set_result([b"a", None])

    assert (alone, symbols) == (["XX"], ["AA", "BB"])
    assert await asyncio.gather(*tasks) == [b"x", b"a", None, b"a"]


async def test_several_symbols_of_one_question_are_read_at_one_moment() -> None:
    source = Source()
    task = asyncio.create_task(SharedReads(source.read_many, 10.0).read_all(["AA", "BB", "AA"]))

    symbols, answer = await source.next_round(1)
    answer.set_result([b"a", b"b"])

    assert symbols == ["AA", "BB"]
    assert await task == [b"a", b"b", b"a"]


async def test_a_source_that_answers_at_once_is_asked_again_the_next_time() -> None:
    async def at_once(symbols: Sequence[str]) -> dict[str, bytes | None]:
        return {symbol: symbol.encode() for symbol in symbols}

    reads = SharedReads(at_once, 10.0)

    assert [await reads.read(symbol) for symbol in ("AA", "BB")] == [b"AA", b"BB"]


async def test_a_read_never_joins_a_round_that_was_sent_before_it() -> None:
    source = Source()
    reads = SharedReads(source.read_many, 10.0)
    early = reading(reads, "AA")
    _, first = await source.next_round(1)

    late = reading(reads, "AA", "CC")
    await asyncio.sleep(0)
    first.set_result([b"old"])
    symbols, second = await source.next_round(2)
    second.set_result([b"new", b"c"])

    assert await asyncio.gather(*early, *late) == [b"old", b"new", b"c"]
    assert symbols == ["AA", "CC"]


async def test_one_caller_that_gives_up_takes_nothing_from_the_others() -> None:
    source = Source()
    tasks = reading(SharedReads(source.read_many, 10.0), "XX", "AA", "AA")
    _, first = await source.next_round(1)
    await asyncio.sleep(0)
    first.set_result([b"x"])
    _, answer = await source.next_round(2)

    tasks[1].cancel()
    await asyncio.wait(tasks[1:2])
    answer.set_result([b"a"])

    assert await tasks[2] == b"a"


async def test_a_silent_store_fails_all_that_wait_and_then_at_once() -> None:
    source = Source()
    reads = SharedReads(source.read_many, 0.03)
    waiting = reading(reads, "AA")
    await source.next_round(1)
    waiting += reading(reads, "BB", "CC")

    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
    assert reads.down is not None

    crowd = await asyncio.gather(*reading(reads, *["AA"] * 100), return_exceptions=True)
    assert {str(outcome) for outcome in crowd} == {"no answer within 30 ms"}
    assert len(source.rounds) == 1, "nothing is sent to a store that owes an answer"
    await reads.close()


async def test_a_late_answer_ends_the_bad_time_and_is_given_to_nobody() -> None:
    source = Source()
    reads = SharedReads(source.read_many, 0.03)
    with pytest.raises(StoreUnavailableError):
        await reads.read("AA")

    source.rounds[0][1].set_result([b"late"])
    await asyncio.wait_for(_up(reads), 10)
    (task,) = reading(reads, "BB")
    _, answer = await source.next_round(2)
    answer.set_result([b"b"])

    assert await task == b"b"


async def test_after_a_failure_probes_find_the_store_again() -> None:
    source = Source()
    reads = SharedReads(source.read_many, 10.0)
    tasks = reading(reads, "AA")
    (await source.next_round(1))[1].set_exception(StoreUnavailableError("refused"))
    with pytest.raises(StoreUnavailableError, match="refused"):
        await tasks[0]

    probed, still_away = await source.next_round(2)
    still_away.set_exception(StoreUnavailableError("refused"))
    again, back = await source.next_round(3)
    with pytest.raises(StoreUnavailableError):
        await reads.read("AA")
    back.set_result([None])
    await asyncio.wait_for(_up(reads), 10)
    tasks = reading(reads, "AA")
    (await source.next_round(4))[1].set_result([b"a"])

    assert probed == again == [PROBE]
    assert await tasks[0] == b"a"


async def _up(reads: SharedReads[bytes | None]) -> None:
    while reads.down is not None:  # noqa: ASYNC110 - it has no event to wait for
        await asyncio.sleep(0)


async def test_a_defect_reaches_those_who_asked_and_does_not_stop_later_reads() -> None:
    source = Source()
    reads = SharedReads(source.read_many, 10.0)
    broken = reading(reads, "AA")
    (await source.next_round(1))[1].set_exception(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await broken[0]

    later = reading(reads, "AA")
    (await source.next_round(2))[1].set_result([b"a"])

    assert await later[0] == b"a"
