"""Fills a topic with the tape of many symbols, as fast as it goes; runs in the virtual environment of the benchmarks.

The partitioner is murmur2, as everywhere: librdkafka's default is another one.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.load_tape import read_tape, records
from benchmarks.throughput_work import child_main, write_result


def run(options: dict[str, Any]) -> None:
    """Send everything and leave the number of events that the broker has."""
    kafka: Any = import_module("confluent_kafka")
    failed: list[str] = []
    producer = kafka.Producer(
        {
            "bootstrap.servers": options["brokers"],
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 20,
            "batch.size": 1 << 19,
            "queue.buffering.max.kbytes": 1 << 17,
            "on_delivery": lambda error, _: failed.append(str(error)) if error else None,
        }
    )
    sent = 0
    for key, value in records(read_tape(), options["symbols"], options["laps"]):
        while True:
            try:
                producer.produce(options["topic"], value, key)
                break
            except BufferError:
                producer.poll(0.1)
        sent += 1
        if not sent % 1000:
            producer.poll(0)
    left = producer.flush(60)
    if failed or left:
        raise SystemExit(f"{len(failed)} events were refused ({failed[:1]}), {left} are still waiting")
    write_result(Path(options["result"]), {"events": sent, "version": kafka.__version__})


if __name__ == "__main__":
    child_main(run)
