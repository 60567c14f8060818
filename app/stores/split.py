"""Oversized reports in two parts, and back: the same bytes after as before.

A report is expected to stay below 100 KB. Over `LIMIT_BYTES` its bulky sections go to a key of their own, so
that what most readers want stays small. Both parts are written and read in one atomic step.
"""

from typing import Final

import msgspec

LIMIT_BYTES: Final = 262_144
BULKY: Final = ("depth", "liquidity", "anomalies")
_MARK: Final = b'{"heavy":true,'

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NULL: Final = msgspec.Raw(b"null")


def split(body: bytes) -> tuple[bytes, bytes]:
    """Return a report's light part, with null in place of the bulky sections, and those sections.

    >>> split(b'{"a":1,"depth":{"x":2}}')
    (b'{"heavy":true,"a":1,"depth":null}', b'{"depth":{"x":2}}')
    """
    sections = _decode(body)
    heavy = {name: section for name, section in sections.items() if name in BULKY}
    light = sections | dict.fromkeys(heavy, _NULL)
    return _MARK + _encode(light)[1:], _encode(heavy)


def is_light(body: bytes) -> bool:
    """Return whether `body` is the light part of a split report."""
    return body.startswith(_MARK)


def whole(body: bytes | None, heavy: bytes | None) -> bytes | None:
    """Return the report that was stored as `body` and `heavy`, `None` if it is not all there."""
    if body is None or not is_light(body):
        return body
    return join(body, heavy) if heavy is not None else None


def join(light: bytes, heavy: bytes) -> bytes:
    """Return the report that `split` was given.

    >>> join(*split(b'{"a":1,"depth":{"x":2},"b":3}'))
    b'{"a":1,"depth":{"x":2},"b":3}'
    """
    return _encode(_decode(b"{" + light[len(_MARK) :]) | _decode(heavy))
