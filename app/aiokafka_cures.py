"""What is changed of aiokafka for a whole process; `install` is called by those that compose one.

* **A connection that has just been closed** is a connection that is lost. Where aiokafka writes to it, asyncio raises
  OSError and uvloop RuntimeError; aiokafka catches the first only, and the task that wrote (the one that keeps a worker
  in its group, or the one that sends what was produced) was gone for good.
* **A fetcher that does not close.** If its task is cancelled while it cancels its own requests, as a worker's does
  that has just lost its partitions, a request swallows the cancellation, the task waits for its next assignment, and
  `close` waits for the task. If a request waits to be tried again, `close` raises halfway and leaves connections open.
  Here each task is cancelled until it has ended, and its error does not interrupt the closing.
* **Batches that nobody can read**, and those that are too large: see `app.fetching` and `app.decompression`.
* **Lean records.** aiokafka makes a dataclass of every record; here it makes a struct of C, as `batches.Record` says.
"""

import asyncio
import logging
from typing import Any, Final

from aiokafka import conn
from aiokafka.consumer import fetcher
from aiokafka.errors import KafkaConnectionError
from aiokafka.record._crecords import default_records, legacy_records

from app import decompression, fetching
from app.batches import Record

logger = logging.getLogger(__name__)

_CLOSED: Final = "handler is closed"
_AGAIN_SEC: Final = 0.1
_send: Final = conn.AIOKafkaConnection.send


def install() -> None:
    """Change aiokafka in this process."""
    conn.AIOKafkaConnection.send = _send_or_lose
    fetcher.Fetcher.close = _close_fetcher
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


async def _close_fetcher(self: Any) -> None:
    self._closed = True
    await _end(self._fetch_task)
    for waiter in self._fetch_waiters:
        self._notify(waiter)
    for request in list(self._pending_tasks):
        await _end(request)


async def _end(task: "asyncio.Task[Any]") -> None:
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=_AGAIN_SEC)
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.debug("a task of the fetcher had ended: %r", error)
