"""Groups as people run them: too many workers, few descriptors, no offsets, one name for two."""

import asyncio
from contextlib import ExitStack
from functools import partial

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import DeleteGroupsRequest

from app.microstructure.events import Event
from support.worker_markets import SYMBOLS, interleaved, reference
from support.workers import PARTITIONS, Deployment, Worker, all_shared, eventually

pytestmark = pytest.mark.stack

EVENTS = interleaved(90)
THIRD = len(EVENTS) // 3


@pytest.mark.timeout(400)
async def test_twenty_workers_on_a_few_partitions_wait_their_turn(deployment: Deployment) -> None:
    workers = [deployment.worker(f"w{number}") for number in range(20)]
    with ExitStack() as running:
        for each in workers:
            running.enter_context(each)
        await deployment.send(EVENTS[:THIRD])

        async def settled() -> bool:
            owned = [partition for each in workers for partition in await each.partitions()]
            return sorted(owned) == list(range(PARTITIONS)) and await deployment.members() == 20

        await eventually(settled, "each partition has one owner, and all are in the group")
        await _states_are(deployment, EVENTS[:THIRD])
        for each in workers:
            await eventually(partial(_is_well, each), "one that has nothing to do is well")
        owners = [each for each in workers if await each.partitions()]
        for owner in owners:
            owner.kill()
        await deployment.send(EVENTS[THIRD:])
        await _states_are(deployment, EVENTS)
        for each in set(workers) - set(owners):
            each.request_stop()
        for each in set(workers) - set(owners):
            await eventually(each.ended, f"{each.name} ends")
            assert each.exit_code == 0


async def _is_well(worker: Worker) -> bool:
    return (await worker.health()).get("problems") == []


async def test_256_descriptors_are_enough(deployment: Deployment) -> None:
    first, second = (deployment.worker(name).under("prlimit", "--nofile=256:256") for name in ("w1", "w2"))
    with first, second:
        await deployment.send(EVENTS[:THIRD])
        await eventually(lambda: all_shared(first, second), "they share the partitions")
        first.kill()
        await deployment.send(EVENTS[THIRD:])
        await _states_are(deployment, EVENTS)
        assert (await second.health())["problems"] == []
        assert second.stop() == 0


async def test_a_group_whose_offsets_were_forgotten_goes_on_from_its_snapshots(deployment: Deployment) -> None:
    """Brokers forget those of a group that was away for a week, and operators delete them."""
    with deployment.worker("w1") as worker:
        await deployment.send(EVENTS[:THIRD])
        await _states_are(deployment, EVENTS[:THIRD])
        assert worker.stop() == 0
    admin = AIOKafkaAdminClient(bootstrap_servers=deployment.settings.kafka_brokers)
    await admin.start()
    await admin._send_request(DeleteGroupsRequest([deployment.settings.worker_group]))
    await admin.close()
    assert await deployment.committed() == {}
    with deployment.worker("w1") as worker:
        await deployment.send(EVENTS[THIRD:])
        await _states_are(deployment, EVENTS)
        assert await worker.metric("context8_restored_symbols_total") == len(SYMBOLS)
        assert worker.stop() == 0


async def test_one_name_for_two_workers_costs_no_state(deployment: Deployment) -> None:
    with deployment.worker("w1") as first, deployment.worker("w2", NT_NODE_ID="w1") as second:
        await deployment.send(EVENTS[:THIRD])
        await eventually(lambda: all_shared(first, second), "they share the partitions")
        first.pause()
        await eventually(lambda: _has_all(second), "the second has everything")
        await deployment.send(EVENTS[THIRD : 2 * THIRD])
        await asyncio.sleep(0.5)  # so that the first wakes up in the middle of the second's work
        first.resume()
        await eventually(lambda: all_shared(first, second), "they share the partitions again")
        await deployment.send(EVENTS[2 * THIRD :])
        await _states_are(deployment, EVENTS)
        for worker in (first, second):
            assert worker.stop() == 0
    await _states_are(deployment, EVENTS)


async def _has_all(worker: Worker) -> bool:
    return await worker.partitions() == set(range(PARTITIONS))


async def _states_are(deployment: Deployment, events: list[Event]) -> None:
    wanted = {symbol: reference(symbol, events) for symbol in SYMBOLS}

    async def same() -> bool:
        return await deployment.newest_states() == wanted

    await eventually(same, "the changelog has every state")
