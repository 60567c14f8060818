"""A worker that hangs past its session wakes up and finds that others went on without it."""

from functools import partial

import pytest

from support.faults import NotTraceableError, main_thread_stopped
from support.ground import Ground
from support.observing import not_here
from support.pair import Pair
from support.reports import Watch
from support.telling import Tell
from support.workers import PARTITIONS, eventually

pytestmark = pytest.mark.stack


async def test_a_worker_that_wakes_up_after_its_session_publishes_nothing_any_more(ground: Ground, tell: Tell) -> None:
    with Pair(ground).running() as pair:
        feed = await pair.flows()
        async with Watch(ground.reports) as watch:
            mine = await pair.symbols_of("w1")
            pair.first.pause()
            await eventually(partial(pair.written_by, {"w2"}), "the other worker has taken over")
            pair.first.resume()
            refused = await eventually(partial(pair.first.metric, "nt_lease_conflicts_total"), "late publishes refused")
            await pair.all_reported(feed)
        tell(f"{refused:.0f} of {len(mine)} late publishes refused, longest gap {max(watch.gaps.values()):.2f} s")
        assert 0 < refused <= len(mine), "a symbol that was refused once is dropped"
        await pair.left_as_undisturbed()


async def test_a_worker_whose_main_thread_alone_hangs_is_replaced_as_well_and_goes_on_where_others_are(
    ground: Ground, tell: Tell
) -> None:
    """Its threads for Kafka go on, and what they have fetched or will be answered waits for it."""
    with Pair(ground).running() as pair:
        feed = await pair.flows()
        async with Watch(ground.reports) as watch:
            try:
                with main_thread_stopped(pair.first.working_pid):
                    await eventually(partial(pair.written_by, {"w2"}), "the other worker has taken over")
            except NotTraceableError as error:
                not_here(str(error))
            await pair.all_reported(feed)
        tell(f"main thread hangs: longest gap {max(watch.gaps.values()):.2f} s")
        await pair.left_as_undisturbed()


async def test_a_late_snapshot_does_not_hide_its_successors_from_the_worker_that_wrote_it(ground: Ground) -> None:
    """A late write to the changelog lies behind records that its writer has never read."""
    redis = f"redis://127.0.0.1:{ground.redis_proxy.port}/0"
    with Pair(ground, each=480, REDIS_URL=redis, SNAPSHOT_INTERVAL_MS="1000").running() as pair:
        feed = await pair.flows()
        deployment = ground.deployment
        partitions = await pair.first.partitions()
        # Out of reach of Redis, so that nobody tells it before its snapshots that it is fenced.
        ground.redis_proxy.freeze()
        pair.first.pause()
        await eventually(partial(pair.written_by, {"w2"}), "the other worker has taken over")
        before = await deployment.committed()

        async def saved_by_the_successor() -> bool:
            now = await deployment.committed()
            return all(now.get(partition, 0) > before.get(partition, 0) for partition in partitions)

        await eventually(saved_by_the_successor, "the successor has committed behind snapshots of its own")
        # Gone before the other wakes up: no hand-over follows the late write, and nothing holds the group up.
        pair.second.crash()

        async def nobody_left() -> bool:
            return await deployment.members() == 0

        await eventually(nobody_left, "the successor has left the group")
        pair.first.resume()

        async def has_all() -> bool:
            return len(await pair.first.partitions()) == PARTITIONS

        await eventually(has_all, "the late worker has all partitions")
        ground.redis_proxy.restore()
        await pair.all_reported(feed)
        await pair.left_as_undisturbed()
