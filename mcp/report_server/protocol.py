"""uvicorn's HTTP protocol with a limit for the head of a request.

httptools takes a request line and headers of any length and gathers them in memory; a client could send a head that
never ends. Here a connection whose head grows beyond the limit is closed: no real client sends half as much.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 32_768


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes the connection when a request's head is longer than `MAX_HEAD_BYTES`.

    What a chunk holds beside the head is counted in as far as it came before the head's end: the limit is that of a
    defence, not a measure.
    """

    _head_bytes = 0
    _in_head = True

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.transport.close()

    def on_message_begin(self) -> None:
        """Begin to count."""
        self._head_bytes = 0
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Stop counting."""
        self._in_head = False
        super().on_headers_complete()
