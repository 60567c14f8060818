import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.stack.errors import StackError
from app.stack.process import Child

_SLEEP = "import time; time.sleep(600)"
_TICK = """
import itertools, time
for n in itertools.count():
    print(n, flush=True)
    time.sleep(0.01)
"""
_START_ANOTHER = f"""
import subprocess, sys
other = subprocess.Popen([sys.executable, "-c", "{_SLEEP}"])
print(other.pid, flush=True)
other.wait()
"""
_SAY_AND_SLEEP = "print('up', flush=True); import time; time.sleep(600)"


def _python(code: str, tmp_path: Path, env: dict[str, str] | None = None) -> Child:
    return Child("thing", [sys.executable, "-c", code], log=tmp_path / "logs" / "thing.log", env=env)


def _until(condition: Callable[[], bool], limit: float = 20.0) -> None:
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        time.sleep(0.01)


def _exists(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def _logged(child: Child) -> bool:
    return bool(child.log_tail())


def test_a_child_that_says_it_is_ready_runs_until_it_is_stopped(tmp_path: Path) -> None:
    child = _python(_SAY_AND_SLEEP, tmp_path)
    child.start()
    child.wait_ready(lambda: _logged(child), 20)
    assert child.running
    assert child.exit_code is None
    assert child.stop() == -signal.SIGTERM
    assert not child.running
    assert not _exists(child.pid)


def test_output_and_errors_are_in_the_log_and_the_environment_is_added_to(tmp_path: Path) -> None:
    code = "import os, sys; print(os.environ['COLOUR'], bool(os.environ['PATH'])); print('oh', file=sys.stderr)"
    child = _python(code, tmp_path, env={"COLOUR": "blue"})
    child.start()
    _until(lambda: not child.running)
    assert child.exit_code == 0
    assert sorted(child.log_tail().splitlines()) == ["blue True", "oh"]


def test_a_child_that_ends_before_it_is_ready_shows_the_end_of_its_log(tmp_path: Path) -> None:
    child = _python("print('\\n'.join(map(str, range(99)))); raise SystemExit(3)", tmp_path)
    child.start()
    with pytest.raises(StackError, match="thing ended with exit code 3") as caught:
        child.wait_ready(lambda: False, 20)
    assert str(caught.value).splitlines()[1:] == [str(n) for n in range(84, 99)]


def test_a_child_that_is_not_ready_in_time_is_killed(tmp_path: Path) -> None:
    child = _python(_SLEEP, tmp_path)
    child.start()
    with pytest.raises(StackError, match=r"was not ready after 0\.1 s and wrote nothing"):
        child.wait_ready(lambda: False, 0.1)
    assert not child.running


def test_a_child_is_killed_when_the_wait_for_it_is_interrupted(tmp_path: Path) -> None:
    def interrupted() -> bool:
        raise KeyboardInterrupt

    child = _python(_SLEEP, tmp_path)
    child.start()
    with pytest.raises(KeyboardInterrupt):
        child.wait_ready(interrupted, 20)
    assert not child.running


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    child = Child("thing", ["/nowhere/thing"], log=tmp_path / "log")
    child.start()
    with pytest.raises(StackError, match="cannot run /nowhere/thing: No such file"):
        child.wait_ready(lambda: False, 20)


def test_a_child_that_ignores_sigterm_is_killed_after_the_limit(tmp_path: Path) -> None:
    code = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {_SAY_AND_SLEEP}"
    child = _python(code, tmp_path)
    child.start()
    child.wait_ready(lambda: _logged(child), 20)
    assert child.stop(limit=0.2) == -signal.SIGKILL


def test_a_frozen_child_is_stopped_too(tmp_path: Path) -> None:
    code = f"import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit()); {_SAY_AND_SLEEP}"
    child = _python(code, tmp_path)
    child.start()
    child.wait_ready(lambda: _logged(child), 20)
    os.kill(child.pid, signal.SIGSTOP)
    assert child.stop(limit=0.2) == -signal.SIGKILL


def test_what_a_child_has_started_ends_with_it(tmp_path: Path) -> None:
    child = _python(_START_ANOTHER, tmp_path)
    child.start()
    child.wait_ready(lambda: _logged(child), 20)
    grandchild = int(child.log_tail())
    assert _exists(grandchild)
    child.stop()
    _until(lambda: not _exists(grandchild))


def test_a_child_can_be_started_again_and_its_log_tail_begins_anew(tmp_path: Path) -> None:
    child = _python("print('once')", tmp_path)
    for _ in range(2):
        child.start()
        _until(lambda: not child.running)
        assert child.log_tail() == "once"
    assert child.log.read_text() == "once\nonce\n"


def test_a_running_child_cannot_be_started_twice(tmp_path: Path) -> None:
    with _python(_SLEEP, tmp_path) as child, pytest.raises(StackError, match="thing runs already"):
        child.start()


def test_stopping_what_never_ran_does_nothing(tmp_path: Path) -> None:
    assert _python(_SLEEP, tmp_path).stop() is None


async def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path) -> None:
    # The kernel's parent-death signal follows the thread that forked, not the process.
    child = _python(_TICK, tmp_path)

    def start_and_wait() -> None:
        child.start()
        child.wait_ready(lambda: _logged(child), 20)

    with ThreadPoolExecutor(max_workers=1) as pool:
        await asyncio.get_running_loop().run_in_executor(pool, start_and_wait)
    # It goes on after the thread has ended.
    ticks = int(child.log_tail(lines=1))
    child.wait_ready(lambda: int(child.log_tail(lines=1)) > ticks + 20, 20)
    assert child.stop() == -signal.SIGTERM


def test_several_children_can_end_at_the_same_time(tmp_path: Path) -> None:
    children = [Child(f"n{n}", [sys.executable, "-c", _SLEEP], log=tmp_path / f"{n}.log") for n in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.request_stop()
    _until(lambda: not any(child.running for child in children))


_PARENT = """
import sys, time
from pathlib import Path
from app.stack.process import Child

child = Child("orphan", [sys.executable, "-c", sys.argv[2]], log=Path(sys.argv[1]))
child.start()
child.wait_ready(lambda: bool(child.log_tail()), 20)
print(child.pid, flush=True)
{end}
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_is_left_when_its_parent_is_killed(tmp_path: Path, sent: signal.Signals) -> None:
    with _python_parent(tmp_path, "time.sleep(600)") as parent:
        parent.wait_ready(lambda: _logged(parent), 20)
        orphan = int(parent.log_tail())
        assert _exists(orphan)
        os.kill(parent.pid, sent)
        _until(lambda: not _exists(orphan))


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_no_child_is_left_when_its_parent_ends_without_stopping_it(tmp_path: Path) -> None:
    with _python_parent(tmp_path, "") as parent:
        _until(lambda: not parent.running)
        assert parent.exit_code == 0
        orphan = int(parent.log_tail())
        _until(lambda: not _exists(orphan))


def _python_parent(tmp_path: Path, end: str) -> Child:
    code = _PARENT.format(end=end)
    command = [
        sys.executable,
        "-W",
        "ignore::ResourceWarning",
        "-c",
        code,
        str(tmp_path / "orphan.log"),
        _TICK,
    ]
    root = str(Path(__file__).parents[3])
    return Child("parent", command, log=tmp_path / "parent.log", env={"PYTHONPATH": root})
