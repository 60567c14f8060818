"""A text that nothing shows by accident.

Whoever needs the text asks for it with `reveal()`, at the place where it leaves for a client. Everything else that
could get hold of it (a log line, an exception, a traceback, a repr of all settings) shows `(hidden)`.
"""

import hmac
from contextlib import suppress
from pathlib import Path
from typing import Final, NoReturn, Self
from urllib.parse import unquote, urlsplit, urlunsplit

HIDDEN: Final = "(hidden)"


class Secret:
    """A password, key or token.

    One that came from a file is read again on each use, because a rotation rewrites the file.
    While the file cannot be used, as in the middle of being written, the last text counts.
    """

    __slots__ = ("_file", "_text")

    def __init__(self, text: str, file: Path | None = None) -> None:
        self._text = text
        self._file = file

    @classmethod
    def of_file(cls, file: Path) -> Self:
        """Return the secret that a file holds in one line, and nothing else.

        Raises:
            ValueError: it cannot be read or holds something else; the message says why.
        """
        return cls(_read(file), file)

    def reveal(self) -> str:
        """Return the text itself, as it is now."""
        if self._file is not None:
            with suppress(ValueError):
                self._text = _read(self._file)
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not written down, not even for another process")


def _read(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        raise ValueError(getattr(error, "strerror", None) or "not UTF-8") from None
    if not text or "\n" in text:
        raise ValueError("more than one line" if text else "empty")
    return text


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
