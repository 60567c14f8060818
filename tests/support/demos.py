"""The demo as a process, on ports of its own."""

import os
import random
import sys
from pathlib import Path
from typing import Final

from app.stack.errors import StackError
from app.stack.ports import Ports
from app.stack.process import Child
from support.pages import ROOT

# Below the ports of `free_ports`, which lie below those that the kernel hands out by itself. Two test processes must
# not choose the same block, whose ports are taken one by one while the demo starts: each has blocks of its own.
_LOWEST: Final = 16_700
_BLOCK: Final = 300
_BLOCKS: Final = 40


def demo(folder: Path, *arguments: str, **env: str) -> tuple[Child, int]:
    """Return a demo, not started, with its log in `folder`, and the base of its ports."""
    base = free_block()
    command = [sys.executable, "-m", "app.cli", "demo", "--port-base", str(base), *arguments]
    return Child("demo", command, log=folder / "demo.log", cwd=ROOT, env=env), base


def free_block(workers: int = 2) -> int:
    """Return the base of a block of ports that are all free, those of so many workers among them."""
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        base = _LOWEST + _BLOCK * random.choice(range(process, _BLOCKS, processes))
        try:
            Ports.from_base(base).require_free(workers)
        except StackError:
            continue
        return base
