"""(c) Quix Streams with its state, in a virtual environment of its own.

A stateful function over raw bytes that holds the engines in memory and sets a symbol's snapshot in Quix's state
(RocksDB with a changelog topic) when the last one is a second old; Quix commits its checkpoints once a second, which is
the fastest that this cadence allows. Reports are computed between events, as Quix has no timers.
"""

import logging
import signal
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.throughput_work import FAST_SEC, SNAPSHOT_SEC, Every, Work, child_main, write_result

LONGEST_SEC = 600.0


def run(options: dict[str, Any]) -> None:
    """Process the topic to its end, then leave the result."""
    quix: Any = import_module("quixstreams")
    work, fast = Work(options["events"]), Every(FAST_SEC)
    taken: dict[bytes, float] = {}
    app = quix.Application(
        broker_address=options["brokers"],
        consumer_group=options["group"],
        auto_offset_reset="earliest",
        commit_interval=SNAPSHOT_SEC,
        state_dir=options["folder"],
        auto_create_topics=True,
        loglevel=logging.WARNING,
    )
    topic = app.topic(options["topic"], value_deserializer="bytes", key_deserializer="bytes")
    offset_of = quix.message_context

    def on_event(value: bytes, key: bytes, _timestamp: int, _headers: Any, state: Any) -> None:
        engine = work.take(value, key, offset_of().offset)
        now = time.monotonic()
        if now - taken.setdefault(key, now) >= SNAPSHOT_SEC:
            taken[key] = now
            state.set_bytes("snapshot", engine.snapshot())
        if fast.due():
            work.report()

    frame = app.dataframe(topic).update(on_event, stateful=True, metadata=True)
    signal.signal(signal.SIGTERM, lambda *_: app.stop())
    app.run(dataframe=frame, count=options["events"], timeout=LONGEST_SEC, collect=False)
    write_result(Path(options["result"]), work.result(version=quix.__version__))


if __name__ == "__main__":
    child_main(run)
