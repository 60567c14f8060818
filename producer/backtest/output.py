"""The file that reports go to: JSON Lines or Parquet, by its extension; whole or not at all.

Reports are written to a file of another name in the same folder, which takes the final name at the end. So
whoever finds the file finds all of it, and a failed run leaves an older one as it was.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, Protocol

from app.microstructure.report import Report, encode
from producer.backtest.source import BacktestError

ROW_GROUP: Final = 2000


class Writer(Protocol):
    """Takes reports one by one."""

    def write(self, report: Report) -> None:
        """Take a report."""

    def close(self) -> None:
        """Finish the contents; the file itself stays open."""


class JsonLinesWriter:
    """One report a line, the very bytes that live reports have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, report: Report) -> None:
        """Append a line."""
        self._file.write(encode(report) + b"\n")

    def close(self) -> None:
        """Do nothing: every line is complete."""


class ParquetWriter:
    """One row a report, in the columns of `app.plot.table`; `ROW_GROUP` reports are held in memory."""

    def __init__(self, file: IO[bytes]) -> None:
        import pyarrow.parquet as pq

        from app.plot.table import SCHEMA

        self._waiting: list[Report] = []
        self._parquet: Any = pq.ParquetWriter(file, SCHEMA, compression="zstd")

    def write(self, report: Report) -> None:
        """Append a row."""
        self._waiting.append(report)
        if len(self._waiting) >= ROW_GROUP:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the footer."""
        if self._waiting:
            self._flush()
        self._parquet.close()

    def _flush(self) -> None:
        from app.plot.table import batch

        self._parquet.write_batch(batch(self._waiting))
        self._waiting.clear()


_WRITERS: Final[dict[str, Callable[[IO[bytes]], Writer]]] = {
    ".jsonl": JsonLinesWriter,
    ".parquet": ParquetWriter,
}


def check(path: Path) -> None:
    """Refuse a path that cannot be written to, before any work is done.

    Raises:
        BacktestError: unknown extension, no such folder, or the path is a folder.
    """
    if path.suffix not in _WRITERS:
        raise BacktestError(f"--out {path}: the extension must be {' or '.join(_WRITERS)}")
    if not path.parent.is_dir():
        raise BacktestError(f"--out {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise BacktestError(f"--out {path}: that is a folder")


@contextmanager
def opened(path: Path) -> Iterator[Writer]:
    """Give a writer; `path` is there, or replaced, when the block ends without an exception.

    Raises:
        BacktestError: see `check`; or the file cannot be made, filled or named.
    """
    check(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            writer = _WRITERS[path.suffix](file)
            try:
                yield writer
            finally:
                writer.close()  # also after a failure: pyarrow would close later, without a file
        partial.replace(path)
    except OSError as error:
        raise BacktestError(f"--out {path}: {error.strerror or error}") from None
    finally:
        partial.unlink(missing_ok=True)
