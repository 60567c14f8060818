"""Connections to Redis that find out where they have to go and whom they got.

redis-py makes a connection whenever its pool has none that is free, and again when one was lost. So what may change
while a process runs is looked at for each connection: the password, the certificates, where the master is, and what
the server says it is. A server that changed its role under a connection is noticed in two ways: by its refusal of
writes (`app.stores.redis`), and, with Sentinels, by asking them again and again.
"""

import asyncio
import ssl
from itertools import chain
from typing import Any, Final

from redis.asyncio.connection import Connection, ConnectionPool
from redis.credentials import CredentialProvider
from redis.exceptions import ConnectionError as RedisConnectionError

from app.security.secret import Secret, revealed
from app.security.sentinel import NoMasterError, Sentinels

_ASK_AGAIN_SEC: Final = 0.25


class WrongServerError(RedisConnectionError):
    """What answers is no Redis that we can work with: `kind` is `replica`, `cluster` or `sentinel`."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Credentials(CredentialProvider):
    """User and password as they are at the moment of connecting."""

    def __init__(self, user: str | None, password: Secret | None) -> None:
        self._user = user
        self._password = password

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH takes."""
        password = revealed(self._password) or ""
        return (self._user, password) if self._user else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Return what AUTH takes."""
        return self.get_credentials()


class TlsConnection(Connection):
    """A connection with a context of ours, made once; `None` does not encrypt.

    redis-py's own makes one for each connection, within the time that connecting may take; and besides the given
    authorities it trusts all those of the machine.
    """

    def __init__(self, *, tls_context: ssl.SSLContext | None, **options: Any) -> None:
        super().__init__(**options)
        self._tls_context = tls_context

    def _connection_arguments(self) -> dict[str, Any]:
        return {"host": self.host, "port": self.port, "ssl": self._tls_context}


class ServerConnection(TlsConnection):
    """A connection that asks the server what it is.

    Args:
        sentinels: say where to go each time; `None` goes to `host` and `port`.
        master_only: a replica will not do.
        pool: follows the Sentinels while it has a connection.
        options: those of redis-py.
    """

    def __init__(
        self,
        *,
        sentinels: Sentinels | None = None,
        master_only: bool,
        pool: "MasterPool | None" = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._sentinels = sentinels
        self._master_only = master_only
        self._pool = pool

    async def _connect(self) -> None:
        if self._sentinels is not None:
            self.host, self.port = await self._sentinels.master()
        await super()._connect()  # type: ignore[no-untyped-call] # redis-py has no type for it

    async def on_connect_check_health(self, check_health: bool = True) -> None:
        """Say who we are, as redis-py does, and ask who is there."""
        await super().on_connect_check_health(check_health)
        # Everybody who may connect at all may say HELLO; ROLE would be a right of its own.
        await self.send_command("HELLO", check_health=False)
        said = await self.read_response()
        mode, role = (_text(said.get(key)) for key in (b"mode", b"role"))
        if mode in ("cluster", "sentinel"):
            raise WrongServerError(mode)
        if self._master_only and role not in (None, "master"):
            raise WrongServerError("replica")
        if self._pool is not None:
            self._pool.follow()


class MasterPool(ConnectionPool):
    """Connections to the master that the Sentinels name, and to no other for long.

    Where Sentinels have replaced a master that we still reach, it does not know: it takes our reports, and nobody else
    reads them. So while there are connections the Sentinels are asked again and again. If they are all away, what is
    connected stays.
    """

    def __init__(self, sentinels: Sentinels, **options: Any) -> None:
        super().__init__(sentinels=sentinels, **options)
        self._sentinels = sentinels
        self._following: asyncio.Task[None] | None = None

    def make_connection(self) -> Any:
        """Return a connection that keeps us following."""
        return ServerConnection(pool=self, **self.connection_kwargs)

    def follow(self) -> None:
        """Begin to ask the Sentinels again and again, unless it is done already."""
        if self._following is None or self._following.done():
            self._following = asyncio.get_running_loop().create_task(self._follow(), name="sentinels")

    async def aclose(self) -> None:
        """Close all connections, those to the Sentinels too."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
            self._following = None
        await super().aclose()
        await self._sentinels.close()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(_ASK_AGAIN_SEC)
            try:
                master = await self._sentinels.master()
            except NoMasterError:
                continue
            for each in list(chain(self._available_connections, self._in_use_connections)):
                if isinstance(each, ServerConnection) and each.is_connected and (each.host, each.port) != master:
                    await each.disconnect(nowait=True)


def _text(value: Any) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
