"""Tie this process to its parent, then become the command: `tied.py PARENT_PID COMMAND ARG…`.

A script, not a module: `process.Child` runs it with `python -I -S`, which takes some 15 ms. The kernel then
sends SIGKILL when the parent dies, however it dies, so that nothing is left behind even by a `kill -9`. A
`preexec_fn` could do the same without this step, but runs Python between fork and exec, which may deadlock in
a parent that has threads. Linux only; elsewhere the command just runs.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: int, command: list[str]) -> None:
    """Replace this process by `command`, which dies when process `parent` does."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A parent that died before the call above sends nothing any more.
        if os.getppid() != parent:
            sys.exit(f"the parent process {parent} is gone")
    try:
        os.execvp(command[0], command)  # noqa: S606 - that is the purpose
    except OSError as error:
        sys.exit(f"cannot run {command[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
