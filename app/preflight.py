"""What a worker makes sure of before it joins the group.

Joining rebalances everybody. A worker that would end a moment later, because a port is taken or its data folder
cannot be used, must therefore not join at all; and one that disagrees with the topics about partitions would
put symbols where nobody looks for them.
"""

import asyncio
import fcntl
import logging
import os
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import GroupAuthorizationFailedError, InvalidSessionTimeoutError, KafkaError
from aiokafka.protocol.group import JoinGroupRequest

from app import topics
from app.security.errors import AccessError
from app.security.kafka import kafka_client, kafka_security, lacks_right, require_kafka
from app.security.redis import redis_refusal
from app.settings import Settings
from app.stack.ports import is_free

logger = logging.getLogger(__name__)

_RETRY_SEC = 0.5
_KAFKA_LIMIT_SEC = 5.0


class PreflightError(Exception):
    """One line that names what is in the way and what to do."""


def check(config: Settings) -> int:
    """Check ports, data folder, access and topics; return the data folder's lock, to be kept open.

    Raises:
        PreflightError: the worker must not start.
    """
    for name, port in (("WORKER_WEB_PORT", config.worker_web_port), ("NT_METRICS_PORT", config.metrics_port)):
        if not is_free(port):
            raise PreflightError(f"{name}={port} is taken: every worker of a host needs ports of its own")
    lock = _lock(config.data_dir)
    for find_problem in (access_problem, topics.problem, session_problem):
        problem = _answer(find_problem, config)
        if problem:
            raise PreflightError(problem)
    # One that is away is waited for by the reports, not here.
    refusal = redis_refusal(config, writes=True)
    if refusal:
        raise PreflightError(refusal)
    return lock


def _answer(find_problem: Callable[[Settings], Coroutine[Any, Any, str | None]], config: Settings) -> str | None:
    """Return what the broker says; one that is away is no reason to stop, the worker waits for it."""
    while True:
        try:
            return asyncio.run(asyncio.wait_for(find_problem(config), _KAFKA_LIMIT_SEC))
        except (KafkaError, OSError, TimeoutError) as error:
            if missing := lacks_right(config, error):
                return missing
            logger.warning("waiting for Kafka at %s: %s", config.kafka_brokers, str(error) or "no answer")
            time.sleep(_RETRY_SEC)


async def access_problem(config: Settings) -> str | None:
    """Return in one line why no broker lets us in, `None` if one does."""
    try:
        await require_kafka(config.kafka_brokers, kafka_security(config))
    except AccessError as error:
        return str(error)
    return None


def _lock(folder: Path) -> int:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise PreflightError(f"WORKER_DATA_DIR={folder} cannot be used: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise PreflightError(
            f"WORKER_DATA_DIR={folder} is in use: every worker of a host needs a folder of its own"
        ) from None
    return lock


async def session_problem(config: Settings) -> str | None:
    """Return in one line that the group's brokers refuse `SESSION_TIMEOUT_MS`, `None` if they take it.

    They check it before anything else of a JoinGroup, which goes no further here: it comes without a member id.
    """
    client = AIOKafkaClient(**kafka_client(config))
    group, session_ms = f"{config.worker_group}-preflight", config.session_timeout_ms
    try:
        await client.bootstrap()
        node = await client.coordinator_lookup(CoordinationType.GROUP, group)
        await client.ready(node, group=ConnectionGroup.COORDINATION)
        probe = JoinGroupRequest(group, session_ms, session_ms, "", None, "consumer", [("range", b"")])
        answer = await client.send(node, probe, group=ConnectionGroup.COORDINATION)
    finally:
        await client.close()
    if answer.error_code == GroupAuthorizationFailedError.errno:
        raise GroupAuthorizationFailedError(f"group {group}")
    if answer.error_code != InvalidSessionTimeoutError.errno:
        return None
    return (
        f"SESSION_TIMEOUT_MS={session_ms} is refused by the broker: set it within the broker's "
        f"group.min.session.timeout.ms (Redpanda: group_min_session_timeout_ms) and group.max.session.timeout.ms, "
        f"or lower the broker's minimum"
    )
