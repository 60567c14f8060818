"""Shells into which a test types what a page says, as a reader of the page would."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

from support.own_network import OwnNetwork
from support.processes import descendants

# By these a `make` that runs the tests would hand its ARGS on to every `make` that is typed.
_OF_MAKE: Final = ("MAKEFLAGS", "MFLAGS", "ARGS")


class Terminal:
    """A bash in a session of its own; what it prints goes to `log`, errors and progress to a file beside it.

    Args:
        network: where it and all that it starts live.
        log: where its output goes.
        cwd: its folder.
        env: its variables, besides those of this process.
        own_processes: it sees no processes but those that it starts, which needs root.
        beside: a terminal with processes of its own, whose processes it sees and may end.
    """

    def __init__(
        self,
        network: OwnNetwork,
        log: Path,
        cwd: Path,
        env: Mapping[str, str],
        *,
        own_processes: bool = False,
        beside: "Terminal | None" = None,
    ) -> None:
        self._own_processes = own_processes
        self._beside = beside
        self._network = network
        self._log = log
        self._errors = log.with_suffix(".errors")
        self._cwd = cwd
        inherited = {name: value for name, value in os.environ.items() if name not in _OF_MAKE}
        self._env = {**inherited, **env}
        self._typed = 0

    def __enter__(self) -> Self:
        self._process = self._network.run(self._start)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def output(self) -> str:
        """All that was printed so far."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The JSON objects among what was printed."""
        found, at, text, decoder = [], 0, self.output, json.JSONDecoder()
        while (at := text.find('{"', at)) >= 0:
            answer, at = decoder.raw_decode(text, at)
            found.append(answer)
        return found

    def type(self, commands: str) -> None:
        """Type lines, and a word at their end by which `ended` knows them."""
        self._typed += 1
        assert self._process.stdin is not None
        self._process.stdin.write(f"{commands}\necho ended {self._typed} with $?\n".encode())
        self._process.stdin.flush()

    @property
    def everything(self) -> str:
        """All that was printed so far, then all errors and progress."""
        return f"{self.output}\n{self._errors.read_text(encoding='utf-8', errors='replace')}"

    @property
    def codes(self) -> list[str]:
        """The exit codes of what was typed and has ended: of each block, that of its last command."""
        return re.findall(r"ended \d+ with (\d+)$", self.output, re.MULTILINE)

    async def ended(self) -> bool:
        """Whether all that was typed has ended, which it must have done well."""
        assert set(self.codes) <= {"0"}, self.everything
        return await self.over()

    async def over(self) -> bool:
        """Whether all that was typed has ended, well or not."""
        return len(self.codes) == self._typed

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGINT)

    def close(self, limit: float = 20.0) -> None:
        """Press Ctrl-C, close the shell, and kill what is left of its process group."""
        self.interrupt()
        with suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(limit)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log, self._errors.open("ab") as errors:
            return subprocess.Popen(
                [*self._world(), "bash", "--noprofile", "--norc"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=errors,
                cwd=self._cwd,
                env=self._env,
                start_new_session=True,
            )

    def _world(self) -> list[str]:
        if self._own_processes:
            return ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
        if self._beside is not None:
            unshare = self._beside._process.pid
            inside = min(descendants(unshare) - {unshare})
            return ["nsenter", "--target", str(inside), "--pid", "--mount"]
        return []
