"""(b) Stock Faust, as a good Faust user would write it.

One agent over single events, uvloop, raw bytes in and out with the engine's own decoder (faster than any of Faust's
codecs), engines in memory, and a table in RocksDB with a changelog into which the agent writes a symbol's snapshot
when the last one is a second old. Faust commits behind the agent by itself, every few seconds.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.throughput_work import FAST_SEC, SNAPSHOT_SEC, Work, child_main, write_result


def run(options: dict[str, Any]) -> None:
    """Run a worker until it is stopped; leave the result when every event was applied."""
    os.environ["FAUST_LOOP"] = "uvloop"
    import faust  # reads the variable above

    work = Work(options["events"])
    app = faust.App(
        options["group"],
        broker=f"kafka://{options['brokers']}",
        store="rocksdb://",
        datadir=options["folder"],
        autodiscover=False,
        topic_partitions=options["partitions"],
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        stream_wait_empty=False,
        worker_redirect_stdouts=False,
        web_enabled=False,
    )
    topic = app.topic(options["topic"], key_type=bytes, key_serializer="raw", value_serializer="raw")
    table: Any = app.Table(
        "snapshots",
        key_type=bytes,
        value_type=bytes,
        partitions=options["partitions"],
        options={"driver": "rocksdict", "block_cache_size": 1 << 20, "write_buffer_size": 1 << 20},
    )
    taken: dict[bytes, float] = {}

    async def on_events(stream: Any) -> None:
        async for event in stream.events():
            message = event.message
            engine = work.take(event.value, message.key, message.offset)
            now = time.monotonic()
            if now - taken.setdefault(message.key, now) >= SNAPSHOT_SEC:
                taken[message.key] = now
                table[message.key] = engine.snapshot()

    async def on_reports() -> None:
        work.report()
        if work.done:
            end()

    def end() -> None:
        write_result(Path(options["result"]), work.result())
        os.kill(os.getpid(), signal.SIGTERM)

    app.agent(topic)(on_events)
    app.timer(FAST_SEC)(on_reports)
    sys.argv = ["faust", "--quiet", "worker", "--loglevel", "warn"]
    app.main()


if __name__ == "__main__":
    child_main(run)
