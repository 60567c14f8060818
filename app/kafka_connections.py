"""Connections to brokers of which one may hang, and the way back to brokers where all that were known are gone.

A broker that hangs takes connections and requests, and answers nothing. aiokafka makes one connection after the other,
and waits for each as long as for any request. While such a broker is still listed among those that are there, it is
tried again and again, and meanwhile there is no way to any other: not for metadata, which would say who leads its
partitions now, nor to the group's new coordinator. So a broker that did not answer is not tried again for a while,
and callers get an error at once.

And aiokafka asks only the brokers of its last metadata, never again those of its settings. A client that last looked
while two of three brokers were away knows one, and if that one dies next it knows nobody, for ever: records wait, and a
worker that gives partitions up waits for its records. So where no known broker answers, the addresses of the settings
are tried again.

To import this module is enough; it takes the place of aiokafka's own functions in every client of the process.
"""

import time
from typing import Any, Final

from aiokafka import client
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError

# How long a broker that has taken a request may leave it unanswered, before another one is asked. aiokafka waits 40 s,
# and Faust 90 s and more: a broker that hangs would block its clients for that long, although the others have long
# taken its partitions over. A broker that works answers within milliseconds; one that is slow is asked once more.
REQUEST_MS: Final = 2000
_SPARED_SEC: Final = 2.0


class Connections:
    """Makes connections, and remembers which brokers were silent."""

    def __init__(self, spared_sec: float = _SPARED_SEC) -> None:
        """Leave a broker alone for `spared_sec` seconds after it was silent."""
        self._spared_sec = spared_sec
        self._silent: dict[tuple[str, int], float] = {}

    async def connect(self, host: str, port: int, **options: Any) -> Any:
        """Return a connection as aiokafka's `create_conn` does.

        Raises:
            TimeoutError: the broker is silent.
            KafkaError, OSError: it cannot be reached, or was silent a moment ago.
        """
        silent_at = self._silent.get((host, port))
        if silent_at is not None and time.monotonic() < silent_at + self._spared_sec:
            raise KafkaConnectionError(f"{host}:{port} was silent a moment ago")
        try:
            connection = await create_conn(host, port, **options)
        except TimeoutError:
            self._silent[host, port] = time.monotonic()
            raise
        self._silent.pop((host, port), None)
        return connection


_update_from_known = client.AIOKafkaClient._metadata_update


async def _update_metadata(self: Any, metadata: Any, topics: Any) -> bool:
    """Update the metadata from a known broker, or else from one of the settings' addresses; return whether one did."""
    if await _update_from_known(self, metadata, topics):
        return True
    for host, port, _ in self.hosts:
        try:
            connection = await client.create_conn(host, port, **_options(self))
        except (KafkaError, OSError):
            continue
        # Where aiokafka itself keeps the connection of its start until it knows brokers; it is asked like one of them.
        self._conns["bootstrap", client.ConnectionGroup.DEFAULT] = connection
        if await _update_from_known(self, metadata, topics):
            return True
    return False


def _options(of: Any) -> dict[str, Any]:
    """Return what a client gives to each of its connections."""
    names = ("client_id", "request_timeout_ms", "ssl_context", "security_protocol", "sasl_mechanism")
    sasl = ("plain_username", "plain_password", "kerberos_service_name", "kerberos_domain_name", "oauth_token_provider")
    options = {name: getattr(of, f"_{name}") for name in (*names, *(f"sasl_{name}" for name in sasl))}
    return {**options, "max_idle_ms": of._connections_max_idle_ms}


client.create_conn = Connections().connect
client.AIOKafkaClient._metadata_update = _update_metadata
