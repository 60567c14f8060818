"""What is changed of aiokafka for a whole process; `install` is called by those that compose one.

* **A connection that has just been closed** is a connection that is lost. Where aiokafka writes to it, asyncio raises
  OSError and uvloop RuntimeError; aiokafka catches the first only, and the task that wrote (the one that keeps a worker
  in its group, or the one that sends what was produced) was gone for good.
* **Batches that nobody can read**, and those that are too large: see `app.fetching` and `app.decompression`.
* **Lean records.** aiokafka makes a dataclass of every record; here it makes a struct of C, as `batches.Record` says.
"""

from typing import Any, Final

from aiokafka import conn
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError
from aiokafka.record._crecords import default_records, legacy_records

from app import decompression, fetching
from app.batches import Record

_CLOSED: Final = "handler is closed"
_send: Final = conn.AIOKafkaConnection.send


def install() -> None:
    """Change aiokafka in this process."""
    conn.AIOKafkaConnection.send = _send_or_lose
    # What these names stand for is looked up at each use.
    fetcher.ConsumerRecord = Record
    fetcher.PartitionRecords = fetching.PartitionRecords
    fetcher.FetchResult = fetching.FetchResult
    for module in (default_records, legacy_records):
        for name in ("gzip_decode", "lz4_decode", "snappy_decode", "zstd_decode"):
            if hasattr(module, name):
                setattr(module, name, getattr(decompression, name))


def _send_or_lose(self: Any, request: Any, expect_response: bool = True) -> Any:
    try:
        return _send(self, request, expect_response)
    except RuntimeError as error:
        if _CLOSED not in str(error):
            raise
        self.close(reason=conn.CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"connection at {self._host}:{self._port} is closed: {error}") from error
