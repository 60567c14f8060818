"""An app on the project's transport, in the test's own process and event loop."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.transport import BatchApp

PARTITIONS = 4
Handle = Callable[[list[ConsumerRecord]], Awaitable[None]]


class Consumed:
    """An app on the transport, in this process, whose agent hands each batch to `handle`."""

    def __init__(self, kafka: str, name: str, folder: Path, handle: Handle, **options: Any) -> None:
        self.topic = f"{name}.events"
        self.app = BatchApp(
            name,
            batched_topics=[self.topic],
            broker=f"kafka://{kafka}",
            datadir=str(folder),
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            topic_partitions=PARTITIONS,
            consumer_auto_offset_reset="earliest",
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            broker_session_timeout=1.5,
            broker_heartbeat_interval=0.1,
            **options,
        )
        source = self.app.topic(self.topic, key_type=bytes, key_serializer="raw", value_serializer="raw", acks=False)

        @self.app.agent(source)  # type: ignore[untyped-decorator]  # Faust has no types here
        async def agent(stream: Any) -> None:
            async for batch in stream:
                await handle(batch)


@asynccontextmanager
async def consuming(kafka: str, name: str, folder: Path, handle: Handle, **options: Any) -> AsyncIterator[Consumed]:
    """Create the topic, start the app and stop it again."""
    consumed = Consumed(kafka, name, folder, handle, **options)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    await admin.create_topics([NewTopic(consumed.topic, PARTITIONS, 1)])
    await admin.close()
    await consumed.app.start()
    try:
        yield consumed
    finally:
        await consumed.app.stop()


async def send(kafka: str, topic: str, count: int, batch_bytes: int = 16_384) -> None:
    """Send so many records, in turn to each partition."""
    async with AIOKafkaProducer(bootstrap_servers=kafka, linger_ms=5, max_batch_size=batch_bytes) as producer:
        for number in range(count):
            await producer.send(topic, str(number).encode(), partition=number % PARTITIONS)
