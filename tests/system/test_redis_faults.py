"""Redis dies, hangs, slows down or is out of reach; reports come back by themselves and nobody falls back."""

import asyncio
import os
import signal
import time
from functools import partial

import pytest

from support.ground import Ground
from support.pair import Pair, names_problem
from support.reports import Watch
from support.streams import SYMBOLS
from support.telling import Tell
from support.workers import Worker, eventually

pytestmark = pytest.mark.stack


async def test_after_a_restart_as_an_empty_redis_all_reports_are_back_and_tokens_went_on(
    ground: Ground, tell: Tell
) -> None:
    with Pair(ground).running() as pair:
        feed = await pair.flows()
        async with Watch(ground.reports) as watch:
            tokens = await ground.reports.tokens()
            ground.redis.kill()
            await eventually(partial(names_problem, pair.first, "Redis"), "the first worker names Redis")
            await asyncio.to_thread(ground.redis.start)
            back = time.time()
            await eventually(lambda: pair.fresh(back * 1000), "all reports are back", limit_sec=10)
            tell(f"reports of {len(SYMBOLS)} symbols back {time.time() - back:.2f} s after an emptied Redis")
            assert await ground.reports.tokens() == tokens
            await pair.all_reported(feed)
        assert watch.looks > len(SYMBOLS)
        await pair.left_as_undisturbed()


async def test_a_takeover_from_an_emptied_redis_raises_the_tokens_that_the_table_has(ground: Ground) -> None:
    with Pair(ground).running() as pair:
        feed = await pair.flows()

        async def saved() -> bool:
            return len(await ground.deployment.newest_states()) == len(SYMBOLS)

        await eventually(saved, "every epoch is in the table")
        async with Watch(ground.reports):
            tokens, mine = await ground.reports.tokens(), await pair.symbols_of("w1")
            ground.redis.kill()
            pair.first.crash()
            await asyncio.to_thread(ground.redis.start)
            await eventually(partial(pair.written_by, {"w2"}), "the second worker writes all")
            after = await ground.reports.tokens()
            # One more, or two where Redis went away between the epoch and the report.
            assert {symbol for symbol in SYMBOLS if after[symbol] > tokens[symbol]} == mine
            assert {symbol for symbol in SYMBOLS if after[symbol] < tokens[symbol]} == set()
            await pair.all_reported(feed)
        await pair.left_as_undisturbed()


async def test_no_epoch_is_given_twice_though_redis_forgot_it_before_a_snapshot_held_it(ground: Ground) -> None:
    with Pair(ground, SNAPSHOT_INTERVAL_MS="60000").running() as pair:
        feed = await pair.flows()
        async with Watch(ground.reports):
            tokens, mine = await ground.reports.tokens(), await pair.symbols_of("w1")
            pair.first.pause()
            ground.redis.kill()
            await asyncio.to_thread(ground.redis.start)
            await eventually(partial(pair.written_by, {"w2"}), "the second worker writes all")
            after = await ground.reports.tokens()
            assert {symbol for symbol in mine if after[symbol] <= tokens[symbol]} == set()
            pair.first.resume()
            await pair.all_reported(feed)
        await pair.left_as_undisturbed()


@pytest.mark.parametrize("fault", ["cut", "freeze"])
async def test_a_worker_out_of_reach_of_redis_keeps_its_symbols_and_comes_back(
    ground: Ground, fault: str, tell: Tell
) -> None:
    with Pair(ground, REDIS_URL=f"redis://127.0.0.1:{ground.redis_proxy.port}/0").running() as pair:
        feed = await pair.flows()
        async with Watch(ground.reports):
            before = await ground.reports.writers()
            getattr(ground.redis_proxy, fault)()
            await eventually(partial(names_problem, pair.first, "Redis"), "the first worker names Redis")
            assert not await names_problem(pair.second, "Redis")
            ground.redis_proxy.restore()
            back = time.time()
            await eventually(lambda: pair.fresh(back * 1000), "all reports are fresh again", limit_sec=10)
            tell(f"fresh {time.time() - back:.2f} s after the end of {fault}")
            assert await ground.reports.writers() == before
            await pair.all_reported(feed)
        await pair.left_as_undisturbed()


async def test_a_redis_that_hangs_stops_nothing_but_reports(ground: Ground, tell: Tell) -> None:
    with Pair(ground).running() as pair:
        feed = await pair.flows()
        async with Watch(ground.reports):
            before = await ground.reports.writers()
            os.kill(ground.redis.process.pid, signal.SIGSTOP)
            await eventually(partial(names_problem, pair.first, "Redis"), "the first worker names Redis")
            offsets = await _offsets(pair.first)
            await eventually(partial(_went_on, pair.first, offsets), "events are processed meanwhile")
            os.kill(ground.redis.process.pid, signal.SIGCONT)
            back = time.time()
            await eventually(lambda: pair.fresh(back * 1000), "all reports are fresh again", limit_sec=10)
            tell(f"fresh {time.time() - back:.2f} s after Redis hung")
            assert await ground.reports.writers() == before
            await pair.all_reported(feed)
        await pair.left_as_undisturbed()


async def test_a_slow_redis_costs_no_symbol(ground: Ground, tell: Tell) -> None:
    with Pair(ground, REDIS_URL=f"redis://127.0.0.1:{ground.redis_proxy.port}/0").running() as pair:
        ground.redis_proxy.delay(50)
        feed = await pair.flows()
        async with Watch(ground.reports) as watch:
            before = await ground.reports.writers()
            await pair.all_reported(feed)
            assert await ground.reports.writers() == before
        tell(f"50 ms to Redis each way: longest gap between reports {max(watch.gaps.values()):.2f} s")
        await pair.left_as_undisturbed()


async def _offsets(worker: Worker) -> dict[str, int]:
    return {name: symbol["offset"] for name, symbol in (await worker.health())["symbols"].items()}


async def _went_on(worker: Worker, before: dict[str, int]) -> bool:
    now = await _offsets(worker)
    return all(now[symbol] > offset for symbol, offset in before.items())
