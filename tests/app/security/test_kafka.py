"""Whoever looks in at a broker takes the connection back, whatever the broker does."""

import asyncio
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiokafka.errors import KafkaError

from app.security import kafka
from app.security.kafka import require_kafka
from app.security.tls import client_context
from support.certificates import Authority

_LIMIT_SEC = 10.0


class Silent:
    """A server that shakes hands with one client and never says a word after it, not even a goodbye."""

    def __init__(self, context: ssl.SSLContext) -> None:
        """Shake hands as `context` says."""
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"

    def serve(self) -> bool:
        """Serve one client, and return whether it ended the connection before long."""
        with self._socket:
            self._socket.settimeout(_LIMIT_SEC)
            taken, _ = self._socket.accept()
        with self._context.wrap_socket(taken, server_side=True) as wrapped:
            # What comes is read past TLS, which would answer a goodbye.
            raw = socket.socket(fileno=wrapped.detach())
        with raw:
            raw.settimeout(_LIMIT_SEC)
            try:
                while raw.recv(65536):
                    pass
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False
            return True


async def test_a_connection_that_failed_is_over_even_if_the_broker_says_no_goodbye(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "REQUEST_MS", 200)
    authority = Authority.in_folder(tmp_path)
    issued = authority.issue("silent")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    silent = Silent(context)
    with ThreadPoolExecutor(1) as threads:
        served = threads.submit(silent.serve)
        with pytest.raises((KafkaError, TimeoutError)):
            await require_kafka(
                silent.address, {"security_protocol": "SSL", "ssl_context": client_context(str(authority.file))}
            )
        assert await asyncio.wrap_future(served)
