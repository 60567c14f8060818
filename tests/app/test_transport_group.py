"""The transport as a member of its group: what costs it its place there, and what does not."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError
from faust.types import TP

from app.recovery import Assigned
from support.consuming import consuming, send
from support.workers import eventually

pytestmark = pytest.mark.stack


async def test_a_takeover_of_more_than_a_session_is_no_hang(kafka: str, topic_prefix: str, tmp_path: Path) -> None:
    """Many symbols are restored in one go, in which the worker's loop does not turn."""

    async def ignore(_: list[ConsumerRecord]) -> None:
        pass

    async with consuming(kafka, topic_prefix, tmp_path, ignore) as consumed:
        consumer, taken_over = consumed.app.consumer, asyncio.Event()

        async def joined() -> bool:
            return bool(consumer.membership.generation > 0 and not consumed.app.rebalancing)

        await eventually(joined, "the group is joined")
        before, coordinator = consumer.membership, consumer._thread._consumer._coordinator
        heartbeat, answers = coordinator._do_heartbeat, []

        async def listening() -> bool:
            answers.append(await heartbeat())
            return bool(answers[-1])

        coordinator._do_heartbeat = listening

        take_over = consumed.app.take_over

        async def restore(assigned: Assigned) -> Mapping[TP, int]:
            time.sleep(2 * consumed.app.conf.broker_session_timeout)  # noqa: ASYNC251  # so that the loop does not turn
            answers.clear()
            taken_over.set()
            return await take_over(assigned)

        consumed.app.take_over = restore

        await consumer._thread.call_thread(coordinator.request_rejoin)
        await asyncio.wait_for(taken_over.wait(), 30)

        async def answered() -> bool:
            return len(answers) > 1

        await eventually(answered, "heartbeats are answered")
        assert all(answers)
        assert consumer.membership == before._replace(generation=before.generation + 1)


async def test_a_member_whose_heartbeat_met_an_unexpected_error_joins_again(
    kafka: str, topic_prefix: str, tmp_path: Path
) -> None:
    """A coordinator that still loads after a restart answers so; aiokafka then waits for a poll that never comes."""
    seen: list[int] = []

    async def note(batch: list[ConsumerRecord]) -> None:
        seen.append(len(batch))

    async with consuming(kafka, topic_prefix, tmp_path, note) as consumed:

        async def joined() -> bool:
            return bool(consumed.app.consumer.membership.generation > 0)

        await eventually(joined, "the group is joined")
        coordinator = consumed.app.consumer._thread._consumer._coordinator
        heartbeat, before = coordinator._do_heartbeat, consumed.app.consumer.membership.generation

        async def fail() -> bool:
            coordinator._do_heartbeat = heartbeat
            raise KafkaError("Unexpected exception in heartbeat task: GroupLoadInProgressError()")

        coordinator._do_heartbeat = fail

        async def joined_again() -> bool:
            return bool(consumed.app.consumer.membership.generation > before)

        await eventually(joined_again, "the group is joined again", limit_sec=20)
        await send(kafka, consumed.topic, 40)

        async def all_there() -> bool:
            return sum(seen) >= 40

        await eventually(all_there, "all records")
