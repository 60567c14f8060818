"""`python -m producer.soak.stages FILE producer …`: the `context8` command, with a sampler of its CPU time.

Every 5 ms of CPU time the kernel sends SIGPROF, and what the main thread is doing counts for a stage: the innermost
function whose file belongs to one. Compiled code has no Python frame of its own and counts for its caller. Where the
process waits, no sample is taken. SIGUSR1 writes the counts so far to FILE as JSON.
"""

import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Final

import msgspec

EVERY: Final = 0.005

LOOP: Final = "event loop, and messages handed over to it"
_CLIENT: Final = "client: decode, follow the book, check it"
_ENGINE: Final = "NautilusTrader's engine and message bus"
_ACTOR: Final = "actor: event as JSON"
_QUEUE: Final = "queue"
_KAFKA: Final = "batches, gzip and aiokafka"
_CONNECTION: Final = "connection"
_REST: Final = "health, metrics, REST"

_STAGES: Final = {
    "producer/connection.py": _CONNECTION,
    "producer/requests.py": _CONNECTION,
    "producer/sockets.py": _CONNECTION,
    "producer/client.py": _CLIENT,
    "producer/messages.py": _CLIENT,
    "producer/followed_book.py": _CLIENT,
    "producer/book_sync.py": _CLIENT,
    "producer/book_truth.py": _CLIENT,
    "producer/stream_routes.py": _CLIENT,
    "producer/stream_watch.py": _CLIENT,
    "producer/exchange_clock.py": _CLIENT,
    "producer/depth.py": _CLIENT,
    "nautilus_trader/adapters": _CLIENT,
    "nautilus_trader/live": _ENGINE,
    "producer/actor.py": _ACTOR,
    "producer/wire.py": _ACTOR,
    "microstructure/rfc3339.py": _ACTOR,
    "producer/event_queue.py": _QUEUE,
    "producer/admission.py": _QUEUE,
    "producer/publisher.py": _KAFKA,
    "producer/compression.py": _KAFKA,
    "/aiokafka/": _KAFKA,
    "producer/health.py": _REST,
    "producer/metrics.py": _REST,
    "/prometheus_client/": _REST,
    "/aiohttp/": _REST,
}
STAGES: Final = (LOOP, _CONNECTION, _CLIENT, _ENGINE, _ACTOR, _QUEUE, _KAFKA, _REST)


class Sampler:
    """Counts what the main thread does, by stage."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._stage_of_file: dict[str, str | None] = {}

    def start(self, out: Path) -> None:
        """Sample from now on; write to `out` at SIGUSR1."""
        signal.signal(signal.SIGUSR1, lambda *_: self._write(out))
        signal.signal(signal.SIGPROF, lambda _, frame: self.note(frame))
        signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)

    def note(self, frame: FrameType | None) -> None:
        """Count one sample."""
        while frame is not None:
            stage = self._stage(frame.f_code.co_filename)
            if stage is not None:
                self.counts[stage] += 1
                return
            frame = frame.f_back
        self.counts[LOOP] += 1

    def _stage(self, file: str) -> str | None:
        if file not in self._stage_of_file:
            self._stage_of_file[file] = next((stage for part, stage in _STAGES.items() if part in file), None)
        return self._stage_of_file[file]

    def _write(self, out: Path) -> None:
        part = out.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(self.counts))
        part.replace(out)


def main() -> int:
    """Run the command that follows FILE."""
    from app import cli

    out, *arguments = sys.argv[1:]
    Sampler().start(Path(out))
    try:
        return cli.main(arguments)
    finally:
        signal.signal(signal.SIGPROF, signal.SIG_IGN)  # the last ones come when Python's handlers are gone


if __name__ == "__main__":
    sys.exit(main())
