"""Questions to Kafka's brokers that survive the loss of one of them.

aiokafka's admin client sends each request to one broker that it picks, and fails if that one has just gone; its name
stays in the metadata for seconds. What is asked here is asked again, of whatever broker comes next.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError

from app.security.kafka import kafka_client
from app.settings import Settings

_TRY_FOR_SEC: Final = 10.0
_PAUSE_SEC: Final = 0.2


async def ask[Answer](settings: Settings, question: Callable[[Any], Awaitable[Answer]]) -> Answer:
    """Return what `question` makes of an admin client, tried again for 10 s where another broker may answer.

    Raises:
        KafkaError, OSError: the last failure, or at once one that no other broker would mend.
    """
    began = time.monotonic()
    while True:
        admin = AIOKafkaAdminClient(**kafka_client(settings))
        try:
            await admin.start()
            return await question(admin)
        except (KafkaError, OSError) as error:
            passes = isinstance(error, OSError) or error.retriable
            # If all brokers are down, the caller decides how long to wait.
            if not passes or not admin._started or time.monotonic() > began + _TRY_FOR_SEC:
                raise
        finally:
            await admin.close()
        await asyncio.sleep(_PAUSE_SEC)


async def topic_settings(admin: Any, topic: str) -> dict[str, str]:
    """Return a topic's settings as its brokers have them, by Kafka's names."""
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    ((_, _, _, _, entries),) = answer.resources
    return {name: value for name, value, *_ in entries}
