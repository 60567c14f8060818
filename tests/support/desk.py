"""Typing the lines of `support.run_commands` into shells, and seeing that each does what its page says."""

import asyncio
import itertools
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

from support.own_network import OwnNetwork
from support.pages import ROOT
from support.run_commands import Typed
from support.terminals import Terminal
from support.workers import eventually

_LIMIT_SEC: Final = 100.0
# Ctrl-C is the death of them, and of the shell with them; ours end in order.
_OF_OTHERS: Final = ("curl", "kcat", "make")


class Desk:
    """Where lines are typed.

    Attributes:
        env: variables of the shells.
        scratch: a folder that looks like the project's to whoever reads in it, and may be written to.
    """

    def __init__(self, network: OwnNetwork, folder: Path) -> None:
        self.env = {"PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}", "TMPDIR": str(folder)}
        self.scratch = folder / "desk" / "main"
        self.scratch.mkdir(parents=True)
        self.scratch.with_name("shared").symlink_to(ROOT.with_name("shared"))
        (self.scratch / ".venv").symlink_to(ROOT / ".venv")
        for name in ("docs", "deploy"):
            shutil.copytree(ROOT / name, self.scratch / name)
        self._network = network
        self._logs = self.scratch.parent
        self._numbers = itertools.count(1)

    def terminal(
        self, *, in_project: bool = False, own_processes: bool = False, beside: Terminal | None = None
    ) -> Terminal:
        """Return a terminal that is not open yet; `own_processes` and `beside` are those of `Terminal`."""
        log = self._logs / f"{next(self._numbers)}.log"
        cwd = ROOT if in_project else self.scratch
        return Terminal(self._network, log, cwd, self.env, own_processes=own_processes, beside=beside)

    async def play(self, scene: Sequence[Sequence[Typed]], limit_sec: float = _LIMIT_SEC) -> None:
        """Type the lines of each step side by side, one step after the other.

        Raises:
            AssertionError: a line did not show what it should, or did not end well.
        """
        with ExitStack() as scene_end:
            for step in scene:
                await asyncio.gather(*(self._play(each, scene_end, limit_sec) for each in step))

    async def _play(self, each: Typed, scene_end: ExitStack, limit_sec: float) -> None:
        program = each.line.split()[0]
        if program == "kcat" and not shutil.which(program) and os.environ.get("CI") != "true":
            return  # the one program of others that a machine for development may do without
        with ExitStack() as stack:
            terminal = stack.enter_context(self.terminal(in_project=each.in_project))
            # What Rich takes for a terminal. Typed with the line, whose exit code is then the only one.
            terminal.type(f"export FORCE_COLOR=1\n{each.line}" if each.drawn else each.line)
            await eventually(
                partial(self._has_shown, each, terminal), f"{each.line} shows {each.shows} {each.answers}", limit_sec
            )
            if each.stays:
                scene_end.push(stack.pop_all())
                return
            if each.goes_on:
                await asyncio.to_thread(terminal.close)
            if not (each.goes_on and each.line.startswith(_OF_OTHERS)):
                well = {"0", "130"} if each.goes_on else {"0"}
                assert terminal.codes[-1:], f"{each.line} did not end:\n{terminal.everything}"
                assert terminal.codes[-1] in well, f"{each.line} ended with {terminal.codes}:\n{terminal.everything}"

    async def _has_shown(self, each: Typed, terminal: Terminal) -> bool:
        over, printed = await terminal.over(), terminal.everything
        if each.goes_on or each.stays:
            assert not over, f"{each.line} ended:\n{printed}"
        elif not over:
            return False
        seen = re.search(each.shows, printed) is not None
        assert seen or not over, f"{each.line} did not show {each.shows}:\n{printed}"
        return seen and (not each.answers or self._network.get(each.answers) not in (None, b"null"))
