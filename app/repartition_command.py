"""`context8 repartition`: more partitions for the topics of a deployment, with every symbol's state moved along."""

import argparse
import logging
import sys

from aiokafka.errors import KafkaError

from app import exit_codes, logs, settings
from app.repartition import RepartitionError
from app.repartition import run as repartition

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add how many partitions there are to be."""
    parser.add_argument(
        "--partitions", type=int, required=True, help="how many there are to be; Kafka can only add some"
    )


def run(args: argparse.Namespace) -> int:
    """Grow and move; 0 if all is done, 3 if it cannot be done now."""
    try:
        config = settings.load()
        logs.configure("topics", config.node_id, config.log_level, config.secret_values)
        moved = repartition(config, args.partitions, logger.info)
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return exit_codes.BAD_SETTING
    except (RepartitionError, KafkaError, OSError) as error:
        print(f"not done, run it again when this is mended: {error}", file=sys.stderr)
        return exit_codes.CANNOT_START
    logger.info("%d symbols moved: set EVENTS_PARTITIONS=%d everywhere and start", len(moved), args.partitions)
    return 0
