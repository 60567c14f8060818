"""Several real Kafka brokers (KRaft, each broker and controller) as child processes on loopback.

Three is what people run: one may go, and the two that are left still agree. Each broker is a `KafkaBroker` with a
folder and a port of its own, to be killed, stopped and started by itself. Who leads what is asked of the brokers that
run, each time: it changes with every fault.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

from app.stack.errors import StackError
from app.stack.kafka import KafkaBroker, Membership
from app.stack.ports import LOOPBACK, free_ports

type Question = Callable[[Any], Awaitable[int | None]]  # of an AIOKafkaClient, answered with a node's number

_START_LIMIT_SEC: Final = 90.0
_REQUEST_MS: Final = 3000
_ANSWER_SEC: Final = 30.0
_PAUSE_SEC: Final = 0.1

# On top of those of a single broker (app/stack/kafka.py). docs/runbooks/kafka.md says which of them a deployment needs.
SETTINGS: Final = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    # The death of the controller: noticed after this, decided within the next two. Defaults are 2000, 1000 and 1000.
    "controller.quorum.fetch.timeout.ms": "1000",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.election.backoff.max.ms": "250",
}


class KafkaCluster:
    """Brokers whose data lie in folders below `folder`; as a context manager they are started and stopped.

    Args:
        folder: takes one folder a broker.
        size: how many; 3 unless a test wants otherwise.
        ports: where clients connect, one a broker; free ones by default.
        vias: ports of proxies, one a broker (see `KafkaBroker`); who bootstraps at them stays behind them.
        settings: Kafka's names and values, on top of `SETTINGS`.

    Raises:
        StackError: Java or the jars are missing.
    """

    def __init__(
        self,
        folder: Path,
        size: int = 3,
        *,
        ports: Sequence[int] | None = None,
        vias: Sequence[int] | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        spare = free_ports(2 * size)
        clients, controllers = ports or spare[:size], spare[size:]
        voters = ",".join(f"{number}@{LOOPBACK}:{port}" for number, port in enumerate(controllers, 1))
        extra = {**(SETTINGS if size >= 3 else {}), **(settings or {})}
        self.brokers = [
            KafkaBroker(
                folder / f"broker-{number}",
                port=clients[number - 1],
                controller_port=controllers[number - 1],
                via=vias[number - 1] if vias else None,
                cluster=Membership(number, voters, extra),
            )
            for number in range(1, size + 1)
        ]
        self._vias = vias

    @property
    def bootstrap(self) -> str:
        """Addresses for clients, `host:port` separated by commas."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    @property
    def bootstrap_via(self) -> str:
        """The same, through the proxies."""
        return ",".join(f"{LOOPBACK}:{port}" for port in self._vias or ())

    @property
    def running(self) -> list[KafkaBroker]:
        """The brokers whose processes exist."""
        return [broker for broker in self.brokers if broker.running]

    def start(self, limit: float = _START_LIMIT_SEC) -> None:
        """Start those that do not run, at the same time, since none is ready before most are there.

        Raises:
            StackError: one did not come up within `limit` seconds.
        """
        absent = [broker for broker in self.brokers if not broker.running]
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            for started in [pool.submit(broker.start, limit) for broker in absent]:
                started.result()

    def stop(self) -> None:
        """Stop all at the same time. The last ones find no controller any more, and are ended by force."""
        for broker in self.brokers:
            broker.process.request_stop()
        with ThreadPoolExecutor(len(self.brokers)) as pool:
            list(pool.map(lambda broker: broker.stop(3.0), self.brokers))

    def kill(self) -> None:
        """End all as a crash would."""
        for broker in self.brokers:
            broker.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def node(self, node_id: int) -> KafkaBroker:
        """Return the broker with this number."""
        return self.brokers[node_id - 1]

    async def leader_of(self, topic: str, partition: int) -> KafkaBroker:
        """Return the broker that leads a partition.

        Raises:
            StackError: nobody has led it for a while.
        """
        return await self._ask(partial(_leader, topic, partition), f"leader of {topic}-{partition}")

    async def coordinator_of(self, group: str) -> KafkaBroker:
        """Return the broker that coordinates a consumer group.

        Raises:
            StackError: nobody has for a while.
        """
        return await self._ask(partial(_coordinator, group), f"coordinator of group {group}")

    async def controller(self) -> KafkaBroker:
        """Return the broker that is the active controller, the leader of KRaft's quorum.

        Raises:
            StackError: there has been none for a while.
        """
        from app.stack.kafka_quorum import leader

        return await self._ask(leader, "controller")

    async def all_in_sync(self) -> bool:
        """Return whether every copy of every partition has all its records, as the brokers know it now.

        Raises:
            KafkaError, OSError: none answers.
        """
        from aiokafka.admin import AIOKafkaAdminClient

        addresses = ",".join(broker.bootstrap for broker in self.running)
        admin = AIOKafkaAdminClient(bootstrap_servers=addresses, request_timeout_ms=_REQUEST_MS)
        try:
            await admin.start()
            topics = await admin.describe_topics()
        finally:
            await admin.close()
        return all(len(each["isr"]) == len(each["replicas"]) for topic in topics for each in topic["partitions"])

    async def _ask(self, question: Question, what: str) -> KafkaBroker:
        """Ask the brokers until they name one that runs: what they know of a broker that died is late by seconds."""
        from aiokafka.client import AIOKafkaClient
        from aiokafka.errors import KafkaError

        began = time.monotonic()
        while time.monotonic() < began + _ANSWER_SEC:
            addresses = ",".join(broker.bootstrap for broker in self.running)
            client = AIOKafkaClient(bootstrap_servers=addresses, request_timeout_ms=_REQUEST_MS)
            with suppress(KafkaError, OSError, TimeoutError):
                await client.bootstrap()
                found = await question(client)
                if found and self.node(found).running:
                    await client.close()
                    return self.node(found)
            await client.close()
            await asyncio.sleep(_PAUSE_SEC)
        raise StackError(f"the brokers name no {what} that runs within {_ANSWER_SEC:g} s")


async def _leader(topic: str, partition: int, client: Any) -> int | None:
    from aiokafka import TopicPartition

    leader: int | None = (await client.fetch_all_metadata()).leader_for_partition(TopicPartition(topic, partition))
    return leader


async def _coordinator(group: str, client: Any) -> int | None:
    from aiokafka.client import CoordinationType

    coordinator: int = await client.coordinator_lookup(CoordinationType.GROUP, group)
    return coordinator
