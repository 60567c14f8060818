"""`python -m support.usual_ports kafka|redis FOLDER [USERS]`: one server at the port that pages name, until Ctrl-C.

A process, since a server that a test starts by itself runs in the network of the thread that starts all its children.
"""

import signal
import sys
from pathlib import Path

from app.stack.kafka import KafkaBroker
from app.stack.redis import RedisServer

READY = "ready"


def main(kind: str, folder: str, users: str = "") -> None:
    """Run it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    here = Path(folder)
    server = (
        KafkaBroker(here, port=9092)
        if kind == "kafka"
        else RedisServer(here, port=6379, users=Path(users) if users else None)
    )
    with server:
        print(READY, flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
