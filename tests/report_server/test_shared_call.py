import asyncio

import pytest

from report_server.shared_call import SharedCall


class Slow:
    """Counts its calls; each lasts until it is let go."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go.wait()
        return number


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_asks_at_the_same_moment_shares_a_call_and_who_asks_later_the_next() -> None:
    slow = Slow()
    shared = SharedCall(slow)
    first = [asyncio.create_task(shared()) for _ in range(100)]
    await turns()
    later = [asyncio.create_task(shared()) for _ in range(100)]
    await turns()
    assert slow.begun == 1

    slow.go.set()

    assert {await each for each in first} == {1}
    assert {await each for each in later} == {2}
    assert await shared() == 3


async def test_a_caller_that_gives_up_ends_it_for_nobody_else() -> None:
    slow = Slow()
    shared = SharedCall(slow)
    impatient, patient = asyncio.create_task(shared()), asyncio.create_task(shared())
    await turns()
    impatient.cancel()
    await turns()
    slow.go.set()

    assert await patient == 1
    assert impatient.cancelled()


async def test_a_failure_goes_to_all_who_shared_it_and_to_nobody_after() -> None:
    fails = True

    async def call() -> str:
        await turns()
        if fails:
            raise ValueError("once")
        return "well"

    shared = SharedCall(call)
    results = await asyncio.gather(shared(), shared(), return_exceptions=True)
    fails = False

    assert [str(each) for each in results] == ["once", "once"]
    assert await shared() == "well"


@pytest.mark.parametrize("count", [1, 50])
async def test_nothing_is_left_behind(count: int) -> None:
    before = asyncio.all_tasks()
    shared = SharedCall(turns)
    await asyncio.gather(*(shared() for _ in range(count)))
    await turns()

    assert asyncio.all_tasks() == before
