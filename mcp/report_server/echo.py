"""Shows a caller's own input back in an error: escaped, short, whatever it was."""

from typing import Final

LONGEST: Final = 60


def shown(value: object) -> str:
    """Return `value` in printable ASCII of at most `LONGEST` characters and an ellipsis.

    >>> shown("btc\\n")
    "'btc\\\\n'"
    >>> shown({"a": 1})
    'of type dict'
    """
    if value is None or isinstance(value, bool | float):
        return str(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else "of too many digits"
    if not isinstance(value, str):
        return f"of type {type(value).__name__}"
    text = ascii(value[: LONGEST + 1])  # cut first: a megabyte is not worth escaping
    return text if len(text) <= LONGEST else text[:LONGEST] + "…"
