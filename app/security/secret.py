"""A text that nothing shows by accident.

Whoever needs the text asks for it with `reveal()`, at the place where it leaves for a client. Everything else that
could get hold of it (a log line, an exception, a traceback, a repr of all settings) shows `(hidden)`.
"""

import hmac
from typing import Final, NoReturn
from urllib.parse import unquote, urlsplit, urlunsplit

HIDDEN: Final = "(hidden)"


class Secret:
    """A password, key or token."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down, not even for another process")


def revealed(secret: Secret | None) -> str | None:
    """Return the text of a secret that may be absent."""
    return None if secret is None else secret.reveal()


def without_password(url: str) -> tuple[str, Secret | None]:
    """Return a URL without the password that it may hold, and that password."""
    parts = urlsplit(url)
    if parts.password is None:
        return url, None
    login, _, host = parts.netloc.rpartition("@")
    user = login.partition(":")[0]
    bare = parts._replace(netloc=f"{user}@{host}" if user else host)
    return urlunsplit(bare), Secret(unquote(parts.password))
