"""Bearer tokens: who may ask, from a file that may change while the reader runs.

One `name:token` a line; empty lines and lines that start with # are left out. A new token comes into force, and one
that was taken out stops working, within a second. A file that has become unreadable or wrong changes nothing and is
logged: a slip of an editor must neither open the reader nor shut everybody out.
"""

import hashlib
import hmac
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

_LINE: Final = re.compile(r"(?P<name>[A-Za-z0-9._-]{1,64}):(?P<token>[A-Za-z0-9._~+/=-]{16,512})")
_ALLOWED: Final = "name:token, the token of 16 to 512 letters, digits and ._~+/=-"
_LOOK_SEC: Final = 1.0
_SCHEME: Final = b"bearer "


class TokenFileError(ValueError):
    """One line that names the file and what is wrong with it."""


class Tokens:
    """The tokens of `path`.

    Raises:
        TokenFileError: the file cannot be read, or a line is not what it should be.
    """

    def __init__(self, path: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._now = now
        self._version = self._stat()
        self._digests = _read(path)
        self._look_at = now() + _LOOK_SEC

    def holder(self, authorization: bytes | None) -> str | None:
        """Return the name that belongs to an Authorization header's token, `None` if there is none.

        The time that it takes says nothing about the tokens: each is compared in full, by its hash.
        """
        self._look()
        if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
            return None
        digest = hashlib.sha256(authorization[len(_SCHEME) :].strip()).digest()
        found = None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found

    def _look(self) -> None:
        now = self._now()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SEC
        version = self._stat()
        if version == self._version:
            return
        self._version = version
        try:
            self._digests = _read(self._path)
            _log.info("read %d tokens anew", len(self._digests))
        except TokenFileError as error:
            _log.error("tokens stay as they were: %s", error)

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _read(path: Path) -> dict[str, bytes]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenFileError(f"READER_TOKENS_FILE={path} cannot be read: {type(error).__name__}") from None
    digests: dict[str, bytes] = {}
    for number, line in enumerate(map(str.strip, lines), 1):
        if not line or line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line)
        # The line itself is a secret and is not shown.
        if parts is None or parts["name"] in digests:
            raise TokenFileError(f"READER_TOKENS_FILE={path}, line {number}: allowed is {_ALLOWED}, each name once")
        digests[parts["name"]] = hashlib.sha256(parts["token"].encode()).digest()
    return digests
