"""The wall clock of another process, set from outside while that runs."""

from pathlib import Path
from typing import Final

_FOLDER: Final = Path(__file__).parent / "clock"


class WallClock:
    """How many seconds a process' wall clock is ahead, right at first; the process is started with `env`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def env(self, python_path: str = "") -> dict[str, str]:
        """Return what the process needs in its environment; `python_path` is what it would have as PYTHONPATH."""
        folders = [str(_FOLDER), *filter(None, [python_path])]
        return {"PYTHONPATH": ":".join(folders), "WALL_CLOCK_FILE": str(self._file)}

    def set(self, seconds: float) -> None:
        """Let the clock be so far ahead, or behind; in one step, as a half-written file would end the process."""
        new = self._file.with_name(f"{self._file.name}.new")
        new.write_text(str(seconds))
        new.replace(self._file)
