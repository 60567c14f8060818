"""What a well-formed call of a tool, or read of a report, looks like in bytes, told without the SDK.

Strict on purpose: what is not accepted here is not wrong, it is only left to the SDK. Numbers beyond 64 bits, lone
surrogates, members that are not known: none of that gets through.
"""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from app.undecodable import UNDECODABLE

_MOST_KEPT: Final = 256
_MODERN: Final = frozenset(version.encode() for version in MODERN_PROTOCOL_VERSIONS)


class ReportArguments(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of `get_report`."""

    symbol: str
    detail: str | None = None
    fields: list[str] | None = None


class ReportsArguments(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of `get_reports`."""

    symbols: list[str]
    detail: str | None = None
    fields: list[str] | None = None


class MetricArguments(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of `explain_metric`."""

    name: str


class NoArguments(msgspec.Struct, forbid_unknown_fields=True):
    """Arguments of `list_symbols`: none."""


class Params(msgspec.Struct, forbid_unknown_fields=True):
    """Which tool, with what; `meta` is the envelope of protocol 2026-07-28."""

    name: str
    arguments: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)
    meta: msgspec.Raw = msgspec.field(name="_meta", default_factory=msgspec.Raw)


class ReadParams(msgspec.Struct, forbid_unknown_fields=True):
    """Which resource."""

    uri: str
    meta: msgspec.Raw = msgspec.field(name="_meta", default_factory=msgspec.Raw)


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """One JSON-RPC request, or a notification, which has no id; what is in it was not looked at."""

    jsonrpc: str
    method: str
    id: int | str | msgspec.UnsetType = msgspec.UNSET
    params: msgspec.Raw = msgspec.field(default_factory=msgspec.Raw)


class Call(msgspec.Struct):
    """A call of a tool or a read of a resource."""

    id: int | str
    method: str
    params: Params | ReadParams

    @property
    def name(self) -> str:
        """What protocol 2026-07-28 repeats in the header Mcp-Name."""
        return self.params.name if isinstance(self.params, Params) else self.params.uri


class _ClientInfo(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    version: str
    title: str | None = None


_DECODERS: Final[dict[str, Callable[[bytes | msgspec.Raw], Any]]] = {
    "get_report": msgspec.json.Decoder(ReportArguments).decode,
    "get_reports": msgspec.json.Decoder(ReportsArguments).decode,
    "explain_metric": msgspec.json.Decoder(MetricArguments).decode,
    "list_symbols": msgspec.json.Decoder(NoArguments).decode,
}
_PARAMS: Final[dict[str, Callable[[bytes | msgspec.Raw], Params | ReadParams]]] = {
    "tools/call": msgspec.json.Decoder(Params).decode,
    "resources/read": msgspec.json.Decoder(ReadParams).decode,
}
_decode_envelope = msgspec.json.Decoder(Envelope).decode
_decode_meta = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_info = msgspec.json.Decoder(_ClientInfo).decode
_decode_capabilities = msgspec.json.Decoder(dict[str, dict[str, Any]]).decode


class CallReader:
    """Reads calls; remembers which `_meta` was found good, since a client sends the same words with each call."""

    def __init__(self) -> None:
        self._good_meta: set[bytes] = set()

    def read(self, envelope: Envelope, modern: bool) -> Call | None:
        """Return the call in `envelope`, `None` if there is anything unusual about it; arguments are not looked at."""
        decode = _PARAMS.get(envelope.method)
        if decode is None or isinstance(envelope.id, msgspec.UnsetType):
            return None
        try:
            params = decode(envelope.params)
        except UNDECODABLE:
            return None
        return Call(envelope.id, envelope.method, params) if self._meta_is_good(bytes(params.meta), modern) else None

    def _meta_is_good(self, meta: bytes, modern: bool) -> bool:
        if not meta:
            return not modern
        known = b"%d%b" % (modern, meta)
        if known in self._good_meta:
            return True
        if not _checked_meta(meta, modern):
            return False
        if len(self._good_meta) >= _MOST_KEPT:
            self._good_meta.clear()
        self._good_meta.add(known)
        return True


def envelope_of(body: bytes) -> Envelope | None:
    """Return the request in `body`, `None` if it is not one, or not one alone."""
    try:
        envelope = _decode_envelope(body)
    except UNDECODABLE:
        return None
    return envelope if envelope.jsonrpc == "2.0" else None


def arguments_of(params: Params) -> Any:
    """Return the arguments of a known tool, of one of the types above; `None` if they are unusual."""
    decode = _DECODERS.get(params.name)
    if decode is None:
        return None
    try:
        return decode(params.arguments or b"{}")
    except UNDECODABLE:
        return None


def _checked_meta(meta: bytes, modern: bool) -> bool:
    try:
        members = _decode_meta(meta)
        version = members.pop(PROTOCOL_VERSION_META_KEY, None)
        capabilities = members.pop(CLIENT_CAPABILITIES_META_KEY, None)
        info = members.pop(CLIENT_INFO_META_KEY, None)
        # What else there is must have no meaning in the protocol, and be JSON.
        for name, value in members.items():
            if name == "progressToken" or name.startswith("io.modelcontextprotocol/"):
                return False
            msgspec.json.decode(value)
        if not modern:
            return version is None and capabilities is None and info is None
        if version is None or capabilities is None or msgspec.json.decode(version, type=str).encode() not in _MODERN:
            return False
        _decode_capabilities(capabilities)
        if info is not None:
            _decode_info(info)
    except UNDECODABLE:
        return False
    return True
