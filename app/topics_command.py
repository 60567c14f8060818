"""`context8 topics`: create the topics of this deployment and check those that exist."""

import argparse
import asyncio
import logging
import sys

from aiokafka.errors import KafkaError

from app import exit_codes, logs, settings, topics
from app.security.errors import AccessError
from app.security.kafka import kafka_security, lacks_right, require_kafka

logger = logging.getLogger(__name__)


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Take no arguments: everything is a setting."""


def run(_: argparse.Namespace) -> int:
    """Create and check; 0 if all is as it should be, 3 if Kafka refuses us, 2 otherwise."""
    try:
        config = settings.load()
        logs.configure("topics", config.node_id, config.log_level, config.secret_values)
        asyncio.run(require_kafka(config.kafka_brokers, kafka_security(config)))
        outcome = asyncio.run(topics.ensure(config))
    except AccessError as error:
        print(error, file=sys.stderr)
        return exit_codes.CANNOT_START
    except (settings.SettingsError, topics.TopicMismatchError) as error:
        print(error, file=sys.stderr)
        return 2
    except (KafkaError, OSError) as error:
        if missing := lacks_right(config, error):
            print(missing, file=sys.stderr)
            return exit_codes.CANNOT_START
        print(f"KAFKA_BROKERS={config.kafka_brokers}: no answer that can be used: {error}", file=sys.stderr)
        return 2
    for name, topic in outcome.items():
        logger.info("topic %s: %s, %s", name, "created" if topic.created else "exists", topic.copies)
        if topic.lacks:
            logger.warning("topic %s %s; docs/runbooks/kafka.md says how to change it", name, topic.lacks)
    return 0
