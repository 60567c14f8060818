"""Which Host and Origin headers the reader accepts: its defence against DNS rebinding.

A web page can point a name of its own at 127.0.0.1 and so make a browser talk to a local server; the Host
header gives it away. The SDK checks that by itself only on loopback. Here every address has a list: a
server on loopback accepts loopback names, one on an address accepts that address, and one on all addresses
cannot know its names and has to be told them.
"""

from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address
from typing import Final

from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.types import Scope

MAX_BODY_BYTES: Final = 65_536  # a hundred times what the longest useful request takes
_MOST_KEPT: Final = 64
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class HostError(ValueError):
    """One line that says what is missing."""


def transport_security(host: str, allowed_hosts: Sequence[str]) -> TransportSecuritySettings:
    """Return what a reader on `host` accepts; `allowed_hosts` (name or name:port) adds to it.

    Raises:
        HostError: `host` stands for all addresses and no name was given.
    """
    everywhere = host in ("0.0.0.0", "::")  # noqa: S104 - recognised here, not bound
    if everywhere and not allowed_hosts:
        raise HostError(f"--host {host} needs --allowed-host NAME for each name by which clients call it")
    loopback = everywhere or host in _LOOPBACK or host.startswith("127.")
    names = [*(_LOOPBACK if loopback else ()), *(() if everywhere else (host,)), *allowed_hosts]
    hosts = [value for name in dict.fromkeys(names) for value in _header_values(name)]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=hosts,
        allowed_origins=[f"{scheme}://{value}" for scheme in ("http", "https") for value in hosts],
    )


class HostGate:
    """The SDK's own verdict on a Host header, remembered: it is the same for every request that has it."""

    def __init__(self, security: TransportSecuritySettings) -> None:
        self._guard = TransportSecurityMiddleware(security)
        self._accepted: set[bytes] = set()

    async def accepts(self, scope: Scope, host: bytes | None) -> bool:
        """Return whether a request with this Host header, and without Origin, is accepted."""
        if host in self._accepted:
            return True
        if host is None or await self._guard.validate_request(Request(scope)) is not None:
            return False
        if len(self._accepted) >= _MOST_KEPT:
            self._accepted.clear()
        self._accepted.add(host)
        return True


def _header_values(name: str) -> list[str]:
    """Return the Host values of `name`: as it is, and with any port unless it has one."""
    if _is_ipv6(name):
        name = f"[{name}]"
    elif ":" in name:
        return [name]
    return [name, f"{name}:*"]


def _is_ipv6(name: str) -> bool:
    try:
        return isinstance(ip_address(name), IPv6Address)
    except ValueError:
        return False
