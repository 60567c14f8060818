"""What a REDIS_URL says: one Redis, or the name of a master and the Sentinels that know where it is.

| form | meaning |
|---|---|
| `redis://[user@]host[:port][/db]` | that server |
| `redis+sentinel://[user@]host[:port],host[:port],…/master[/db]` | whichever server these Sentinels call the master |

`rediss` in place of `redis` encrypts, to Sentinels too. Users and passwords are those of Redis, not of the Sentinels.
"""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

ALLOWED: Final = (
    "redis://host:port/db or rediss://…, or redis+sentinel://host:port,host:port/master/db or rediss+sentinel://…, "
    "a user before the host, nothing behind it"
)
_HOST: Final = r"([^\s,:/?#@\[\]]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?"
_USER: Final = r"([^\s/?#]*@)?"
PATTERN: Final = (
    rf"^(rediss?://{_USER}{_HOST}(/\d*)?|rediss?\+sentinel://{_USER}{_HOST}(,{_HOST})*/[A-Za-z0-9._-]+(/\d+)?)$"
)
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379


class HostPort(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class RedisAddress(NamedTuple):
    """A REDIS_URL taken apart.

    Attributes:
        servers: the Redis itself, or all Sentinels.
        master: the name by which the Sentinels know the master, `None` without Sentinels.
        user: who we are in Redis, `None` for its default user.
        database: the database's number.
        tls: connections are encrypted.
    """

    servers: tuple[HostPort, ...]
    master: str | None
    user: str | None
    database: int
    tls: bool

    def __str__(self) -> str:
        servers = ",".join(map(str, self.servers))
        return f"master {self.master} of the Sentinels {servers}" if self.master else servers


def redis_address(url: str) -> RedisAddress:
    """Take a REDIS_URL apart, without looking at a password that it may hold.

    Raises:
        ValueError: it has neither form; the message says what is allowed, and not what was given.
    """
    if not re.match(PATTERN, url):
        raise ValueError(f"not an address of Redis: {ALLOWED}")
    scheme, _, rest = url.partition("://")
    login, _, place = rest.rpartition("@")
    hosts, _, path = place.partition("/")
    by_sentinels = scheme.endswith("+sentinel")
    master, _, database = path.rpartition("/") if path.count("/") else (path, "", "")
    if not by_sentinels:
        master, database = "", path
    servers = tuple(_host_port(each, _SENTINEL_PORT if by_sentinels else _REDIS_PORT) for each in hosts.split(","))
    user = unquote(login.partition(":")[0])
    return RedisAddress(servers, master or None, user or None, int(database or 0), scheme.startswith("rediss"))


def _host_port(text: str, usual_port: int) -> HostPort:
    host, _, port = text.rpartition(":") if re.search(r":\d+$", text) and not text.endswith("]") else (text, "", "")
    number = int(port or usual_port)
    if not 0 < number < 65536:
        raise ValueError(f"not an address of Redis: port {number}, 1 to 65535 are allowed")
    return HostPort(unquote(host.strip("[]")), number)
