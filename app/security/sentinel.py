"""Who the master is, by Redis Sentinel.

All Sentinels are asked at once, until a majority has answered and the others have had a moment more. One that is cut
off from the others may still name the old master, so the answer of the highest configuration epoch counts: Sentinels
agree on a new one for each failover. That a Sentinel is away costs nothing as long as one answers. A server is believed
to be the master only if it says so itself, which is asked when connecting (`app.security.redis_connection`).

redis-py has a client for Sentinels. It takes the first answer from any of them, keeps its connections to an old master
that is still running, and does not check that a server is the master.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from app.security.redis_address import HostPort

_REST_SEC: Final = 0.02
"""How long those are waited for that answer after a majority has."""


class NoMasterError(RedisConnectionError):
    """No Sentinel names a master that could be used."""


class Sentinels:
    """Asks the Sentinels behind `clients`, each of which must end by itself where its Sentinel is silent."""

    def __init__(self, clients: Sequence[Redis], name: str) -> None:
        self._clients = clients
        self._name = name

    async def master(self) -> HostPort:
        """Return where the master is.

        Raises:
            NoMasterError: no Sentinel answers, or none knows a master of this name.
        """
        asked = {asyncio.ensure_future(self._ask(client)) for client in self._clients}
        named: list[tuple[int, HostPort]] = []
        refusals: list[str] = []
        waiting, enough = set(asked), False
        try:
            while waiting:
                # One that is down, and says nothing, must not hold everybody up. But for a moment after a failover the
                # one that led it is alone in knowing the new master.
                done, waiting = await asyncio.wait(
                    waiting, timeout=_REST_SEC if enough else None, return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    break
                for each in done:
                    try:
                        named.append(each.result())
                    except (RedisError, OSError) as error:
                        refusals.append(str(error).partition("\n")[0] or type(error).__name__)
                enough = len(named) > len(asked) // 2
        finally:
            for each in asked:
                each.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        if not named:
            raise NoMasterError(f"no Sentinel names the master {self._name!r}: {'; '.join(refusals)}")
        return max(named)[1]

    async def close(self) -> None:
        """Close the connections."""
        await asyncio.gather(*(client.aclose() for client in self._clients))

    async def _ask(self, client: Any) -> tuple[int, HostPort]:
        # One after the other in the same turn of the Sentinel, so that they belong together. While replicas are still
        # being led to a new master, only the first of the two names it.
        async with client.pipeline(transaction=False) as pipe:
            pipe.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", self._name)
            pipe.execute_command("SENTINEL MASTER", self._name)
            place, state = await pipe.execute(raise_on_error=False)
        if place is None:
            raise RedisError("one does not know it")
        for answer in (place, state):
            if isinstance(answer, Exception):
                raise answer
        host, port = (part.decode() if isinstance(part, bytes) else str(part) for part in place)
        return int(state["config-epoch"]), HostPort(host, int(port))
