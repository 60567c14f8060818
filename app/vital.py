"""Watches what a worker cannot work without, and ends it when one of these parts has ended.

Most of a worker's work is done in tasks of others: aiokafka's that keeps it in its group, the one that fetches, the one
that sends, Faust's services, our own cycles. One that dies of something nobody expected dies in silence, and the worker
goes on to look well: it has reports of before to show, its heartbeats go out, its symbols stand still. Ending at once
is the cure: the group gives its partitions to others, who lose nothing.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

logger = logging.getLogger(__name__)

_LOOK_SEC: Final = 0.25


async def watch(hopeless: Callable[[], tuple[int, str] | None]) -> None:
    """End the process when `hopeless` says why it must end, with the exit code that it names."""
    while True:
        if (found := hopeless()) is not None:
            code, reason = found
            logger.critical("%s: ending, so that others take over", reason)
            logging.shutdown()
            os._exit(code)
        await asyncio.sleep(_LOOK_SEC)


def end_within(limit_sec: float, code: int) -> None:
    """End the process with `code` when it is still stopping `limit_sec` from now."""

    def end() -> None:
        logger.critical("still stopping after %.0f s: ending all the same", limit_sec)
        logging.shutdown()
        os._exit(code)

    # The second for the case that the log cannot be written either.
    for timer in (threading.Timer(limit_sec, end), threading.Timer(limit_sec + 1, os._exit, [code])):
        timer.daemon = True
        timer.start()


def ended(parts: Iterable[tuple[str, Any]]) -> str | None:
    """Return in one line which of the tasks in `parts` has ended, `None` if all live or have not begun."""
    for name, task in parts:
        if task is None or not task.done():
            continue
        if task.cancelled():
            return f"the {name} was cancelled"
        return f"the {name} has ended: {task.exception()!r}"
    return None


def consumer_parts(client: Any) -> Iterator[tuple[str, Any]]:
    """Yield the tasks without which an aiokafka consumer gets nothing, and says nothing either."""
    yield "task that fetches events", getattr(client._fetcher, "_fetch_task", None)
    yield "task that knows the brokers", client._client._sync_task


def kafka_parts(consumer: Any, producer: Any) -> Iterator[tuple[str, Any]]:
    """Yield the tasks of aiokafka's clients in Faust's `consumer` and `producer`, as far as these have begun."""
    client = getattr(consumer._thread, "_consumer", None)
    if client is not None and not client._closed:
        yield "task that keeps the worker in its group", getattr(client._coordinator, "_coordination_task", None)
        yield from consumer_parts(client)
    sender = getattr(producer, "_producer", None)
    if sender is not None and not sender._closed:
        yield "task that sends to Kafka", sender._sender._sender_task
        yield "task that knows the brokers", sender.client._sync_task
