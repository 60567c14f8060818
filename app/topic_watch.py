"""What the topics of a deployment are now: which logs, of how many partitions; over a connection of its own."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from app.topic_ids import LogId, TopicInfo, describe

_LIMIT_SEC: Final = 5.0


class TopicWatch:
    """Asks the brokers about `topics`; a connection that breaks is made again."""

    def __init__(self, client: Callable[[], AIOKafkaClient], *topics: str) -> None:
        self._new_client = client
        self._topics = topics
        self._client: AIOKafkaClient | None = None
        self._asking = asyncio.Lock()

    async def look(self) -> Mapping[str, TopicInfo]:
        """Return what the brokers say of each topic.

        Raises:
            KafkaError: no broker answers, or a topic is not there.
            TimeoutError: they take too long.
        """
        async with self._asking:
            try:
                return await asyncio.wait_for(self._ask(), _LIMIT_SEC)
            except (KafkaError, OSError, TimeoutError, RuntimeError):
                await self._drop()
                raise

    async def log_of(self, topic: str) -> LogId | None:
        """Return which log `topic` is, `None` where the brokers give no ids; raises as `look` does."""
        return (await self.look())[topic].log

    async def close(self) -> None:
        """Close the connection."""
        async with self._asking:
            await self._drop()

    async def _ask(self) -> Mapping[str, TopicInfo]:
        if self._client is None:
            client = self._new_client()
            try:
                await client.bootstrap()
            except BaseException:
                await client.close()
                raise
            self._client = client
        return await describe(self._client, *self._topics)

    async def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()
