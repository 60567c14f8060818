"""Sends the tape of many symbols at a steady pace, with fresh event times; runs in the virtual environment of the
benchmarks, as a process of its own.

Every symbol has the same rate and begins a little later than the one before, so that their diffs do not come all at
once. An event's time is the moment at which it is sent. Whoever falls behind the pace catches up, and says by how much
it was behind at worst.
"""

import signal
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmarks.load_tape import Tape, read_tape, time_text
from benchmarks.throughput_work import Clocks, child_main, write_result

BEAT_SEC = 0.005
STAGGER_SEC = 5.0


class Generator:
    """Sends `rate` events a second of each of `symbols`."""

    def __init__(self, tape: Tape, symbols: list[str], rate: float, send: Any) -> None:
        self._tape = tape
        self._keys = [symbol.encode() for symbol in symbols]
        self._rate = rate
        self._send = send
        self._begin = time.monotonic()
        self._next = [0] * len(symbols)
        self.behind_sec = 0.0

    @property
    def sent(self) -> int:
        """How many events were sent so far."""
        return sum(self._next)

    def beat(self) -> None:
        """Send what is due."""
        passed = time.monotonic() - self._begin
        at = time_text(time.time_ns() // 1_000_000)
        for index, key in enumerate(self._keys):
            due = int((passed - STAGGER_SEC * index / len(self._keys)) * self._rate)
            for number in range(self._next[index], due):
                self._send(key, self._tape.encode(key, number, at))
            self._next[index] = max(due, self._next[index])
        self.behind_sec = max(self.behind_sec, time.monotonic() - self._begin - passed)


def run(options: dict[str, Any]) -> None:
    """Send until the time is over or SIGTERM comes; leave what was sent and what it cost."""
    kafka: Any = import_module("confluent_kafka")
    failed: list[str] = []
    producer = kafka.Producer(
        {
            "bootstrap.servers": options["brokers"],
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": 5,
            "on_delivery": lambda error, _: failed.append(str(error)) if error else None,
        }
    )
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopped.append(number))
    topic, produce = options["topic"], producer.produce
    tape = read_tape(trades_each=options["trades_each"])
    began = Clocks()
    generator = Generator(tape, options["symbols"], options["rate"], lambda key, value: produce(topic, value, key))
    while not stopped and time.perf_counter() - began.wall < options["seconds"]:
        due = time.monotonic() + BEAT_SEC
        generator.beat()
        producer.poll(0)
        time.sleep(max(0.0, due - time.monotonic()))
    left, ended = producer.flush(30), Clocks()
    write_result(
        Path(options["result"]),
        {
            "sent": generator.sent,
            "lost": len(failed) + left,
            "behind_sec": generator.behind_sec,
            "cpu_share": (ended.cpu - began.cpu) / (ended.wall - began.wall),
        },
    )


if __name__ == "__main__":
    child_main(run)
