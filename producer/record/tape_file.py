"""The files of a recording: gzip members that are written whole, one after the other, in parts where wanted.

What is to be written is gathered in memory and becomes a gzip member of its own every second or megabyte, which
goes to the file in a single call. Members in a row are one gzip file to every reader. So whatever ends the
process, kill -9 included, leaves a file that can be read to its end; only what was gathered since is lost. What a
full disk takes of a member is taken back.

A depth snapshot does not say its symbol, so each symbol has files of its own:

| symbols | rotation | files of `--out day.tape.gz`                                          |
|---------|----------|-----------------------------------------------------------------------|
| one     | no       | `day.tape.gz`                                                         |
| several | no       | `day.BTCUSDT.tape.gz`, …                                              |
| any     | yes      | `day.BTCUSDT.0001.tape.gz`, `day.BTCUSDT.0002.tape.gz`, … (one: no symbol) |
"""

import errno
import gzip
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ENDING: Final = ".tape.gz"
MEMBER_BYTES: Final = 1_000_000
_LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a part is full: bytes on the disk, seconds since it began; `None` is never."""

    most_bytes: int | None = None
    most_seconds: float | None = None

    @property
    def wanted(self) -> bool:
        """Whether there are parts at all."""
        return self.most_bytes is not None or self.most_seconds is not None


class TapeFile:
    """The files of one symbol. `now` are monotonic seconds."""

    def __init__(self, out: Path, symbol: str | None, rotation: Rotation, now: float) -> None:
        """Begin the first part of `out`, named after `symbol` unless that is `None`.

        Raises:
            OSError: it exists already, or cannot be written.
        """
        stem = out.name.removesuffix(ENDING)
        self._stem = stem if symbol is None else f"{stem}.{symbol}"
        self._folder = out.parent
        self._rotation = rotation
        self._lines: list[bytes] = []
        self._gathered = 0
        self.paths: list[Path] = []
        self.size = 0
        self._open(now)

    def write(self, line: bytes) -> None:
        """Take one line, without its end.

        Raises:
            OSError: the disk does not take it.
        """
        self._lines.append(line)
        self._gathered += len(line)
        if self._gathered >= MEMBER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Bring what is gathered to the file; see `write`."""
        if not self._lines:
            return
        member = gzip.compress(b"\n".join(self._lines) + b"\n", _LEVEL, mtime=0)
        self._lines.clear()
        self._gathered = 0
        self._append(member)
        self._part_size += len(member)
        self.size += len(member)

    def _append(self, member: bytes) -> None:
        try:
            # A disk that is nearly full takes a part of it, and says nothing.
            if self._file.write(member) != len(member):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.paths[-1]))
        except OSError:
            # Half a member would hide all that is written behind it.
            self._file.seek(self._part_size)
            self._file.truncate()
            raise

    def rotate(self, now: float) -> bool:
        """Flush, begin the next part if this one is full, and return whether that is so.

        Raises:
            OSError: the disk does not take it, or the next part exists already.
        """
        self.flush()
        most_bytes, most_seconds = self._rotation.most_bytes, self._rotation.most_seconds
        full = most_bytes is not None and self._part_size >= most_bytes
        late = most_seconds is not None and now - self._since >= most_seconds
        if not self._part_size or not (full or late):
            return False
        self._close()
        self._open(now)
        return True

    def close(self) -> None:
        """Bring everything to the disk; see `write`."""
        self.flush()
        self._close()

    def _open(self, now: float) -> None:
        number = f".{len(self.paths) + 1:04d}" if self._rotation.wanted else ""
        path = self._folder / f"{self._stem}{number}{ENDING}"
        # Unbuffered: a member is on its way to the file as a whole or not at all. Never over another recording.
        self._file = path.open("xb", buffering=0)
        self.paths.append(path)
        self._part_size = 0
        self._since = now

    def _close(self) -> None:
        os.fsync(self._file.fileno())
        self._file.close()
