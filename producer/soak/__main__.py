"""`python -m producer.soak`: whole producers against `context8 exchange` and a real Kafka, all on this machine.

For each number of symbols, and of producers that share them: a row of the load, and what each stage of the producer
costs. A run of ten minutes is `--symbols 100 --seconds 600`.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from app.stack.kafka import KafkaBroker
from producer.soak import chain, machine
from producer.soak.report import HEAD, Measured, row, stages

_EVERY: Final = 2.0


def main() -> int:
    """Run the steps and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m producer.soak", description="how many symbols a producer carries")
    parser.add_argument("--symbols", default="10,25,50,100", help="numbers of symbols (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=200.0, help="events/s of each (default: %(default)g)")
    parser.add_argument("--seconds", type=float, default=60.0, help="measured for each (default: %(default)g)")
    parser.add_argument(
        "--producers", type=int, default=1, help="producers that share the symbols (default: %(default)s)"
    )
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak") as folder, KafkaBroker(Path(folder) / "kafka") as broker:
        for step, count in enumerate(map(int, arguments.symbols.split(","))):
            work = Path(folder) / f"step{step}"
            measured = asyncio.run(_step(broker, work, count, arguments))
            print(f"{HEAD}{row(measured)}\n\n{stages(measured)}", flush=True)
    return 0


async def _step(broker: KafkaBroker, work: Path, count: int, arguments: argparse.Namespace) -> Measured:
    topic, rate, producers = work.name, arguments.rate, min(arguments.producers, count)
    await chain.create(broker.bootstrap, topic)
    symbols = [f"S{number:03d}USDT" for number in range(count)]
    async with chain.running(broker, work, topic, symbols, rate, producers) as shards:
        began, kafka, whole = time.monotonic(), machine.cpu_sec(broker.process.pid), machine.machine_sec()
        first = last = [await chain.sample(shard) for shard in shards]
        queue = behind_ms = 0.0
        while last[0].at - first[0].at < arguments.seconds:
            await asyncio.sleep(min(_EVERY, arguments.seconds))
            last = [await chain.sample(shard) for shard in shards]
            queue = max(queue, *(sample.metrics["queue_depth"] for sample in last))
            behind_ms = max(behind_ms, *(sample.behind_ms for sample in last))
        # A producer that is late answers late, so this was measured for longer than the producers were.
        share = (last[0].at - first[0].at) / (time.monotonic() - began)
        kafka, whole = share * (machine.cpu_sec(broker.process.pid) - kafka), share * (machine.machine_sec() - whole)
        rss_mb = max(machine.rss_mb(shard.producer.pid) for shard in shards)
        ages, publishing = await chain.delays(broker.bootstrap, topic)
    load = f"{producers} × {count} × {rate:g}"
    return Measured(load, count, first, last, queue, behind_ms, kafka, whole, machine.cores(), rss_mb, ages, publishing)


if __name__ == "__main__":
    sys.exit(main())
