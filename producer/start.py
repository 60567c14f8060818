"""What `context8 producer` does once hang-ups are handled: settings, logs, the event loop, the producer in it."""

import logging
import sys
from collections.abc import Callable

import msgspec

from app import exit_codes, logs, traces
from app.security.kafka import kafka_refusal
from app.settings import Settings, SettingsError, load
from producer.hang_ups import HangUps
from producer.log_output import NativeOutput


def start(symbols: tuple[str, ...] | None, hang_ups: HangUps) -> int:
    """Run until a signal, with `symbols` in place of those of the settings; return the exit code."""
    try:
        settings = load()
        traces.require(settings)
    except SettingsError as error:
        print(f"context8 producer: {error}", file=sys.stderr)
        return 2
    if symbols:
        settings = msgspec.structs.replace(settings, symbols=symbols)
    refusal = kafka_refusal(settings)
    if refusal:
        print(f"context8 producer: {refusal}", file=sys.stderr)
        return exit_codes.CANNOT_START
    native = NativeOutput()
    native.start()
    try:
        logs.configure("producer", settings.node_id, settings.log_level, settings.secret_values)
        # While Kafka is away aiokafka says so 30 times a second; the publisher says it once.
        logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
        return _produce(settings, lambda: symbols or load().symbols, hang_ups)
    finally:
        native.drain()


def _produce(settings: Settings, wanted: Callable[[], tuple[str, ...]], hang_ups: HangUps) -> int:
    import asyncio

    import uvloop

    from app import aiokafka_cures
    from producer.node import Producer

    aiokafka_cures.install()
    producer = Producer(settings, wanted, hang_ups)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            code = runner.run(producer.run())
    except OSError as error:
        logging.getLogger(__name__).critical("port %d: %s", settings.producer_http_port, error)
        return 1
    producer.dispose()
    return code
