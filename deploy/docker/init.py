"""The first process of a container: runs a command, passes signals on, and lets what the command leaves finish.

When the first process of a container ends, the kernel kills all others at once. A worker that is killed leaves a small
process behind that takes it out of its consumer group, so that others have its partitions at once and need not wait
for the session timeout. Were the worker the first process, or under an init that ends together with it, that last
request would never be sent. So this one waits for its children, adopted ones included, for a moment more.

It needs nothing but the standard library, and ends with the command's exit code, or 128 and the number of the signal
that ended it.
"""

import os
import signal
import sys
from contextlib import suppress

_LINGER_SEC = 3
_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def main(command: list[str]) -> int:
    """Run `command` and return the exit code to end with."""
    # Blocked until there is a child to pass them on to; the child starts with none blocked.
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    try:
        child = os.posix_spawnp(command[0], command, os.environ, setsigmask=())
    except OSError as error:
        print(f"init: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    for number in _PASSED_ON:
        signal.signal(number, lambda received, _: _pass_on(child, received))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    return _reap(child)


def _pass_on(child: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(child, number)


def _reap(child: int) -> int:
    code = 0
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return code
        if pid == child:
            ended = os.waitstatus_to_exitcode(status)
            code = ended if ended >= 0 else 128 - ended
            _end_soon(code)


def _end_soon(code: int) -> None:
    signal.signal(signal.SIGALRM, lambda *_: os._exit(code))
    signal.alarm(_LINGER_SEC)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
