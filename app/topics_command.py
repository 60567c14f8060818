"""`context8 topics`: create the topics of this deployment and check those that exist."""

import argparse
import asyncio
import sys

from aiokafka.errors import KafkaError

from app import settings, topics


def add_arguments(_: argparse.ArgumentParser) -> None:
    """Take no arguments: everything is a setting."""


def run(_: argparse.Namespace) -> int:
    """Create and check; 0 if all is as it should be, 2 otherwise."""
    try:
        config = settings.load()
        outcome = asyncio.run(topics.ensure(config))
    except (settings.SettingsError, topics.TopicMismatchError) as error:
        print(error, file=sys.stderr)
        return 2
    except (KafkaError, OSError) as error:
        print(f"KAFKA_BROKERS={config.kafka_brokers}: no answer that can be used: {error}", file=sys.stderr)
        return 2
    for name, state in outcome.items():
        print(f"{state:8} {name}")
    return 0
