"""What this machine itself must have: Java for the local stack, room for the tables, a way to the exchange."""

import shutil
import urllib.request
from pathlib import Path
from typing import Final
from urllib.error import HTTPError

from app.doctor.findings import Finding, error, ok, warning
from app.settings import Settings
from app.stack.errors import StackError
from app.stack.java import find_java

BINANCE_HTTP_URL: Final = "https://api.binance.com"
_ENOUGH_BYTES: Final = 1 << 30
_LEAST_BYTES: Final = 256 << 20
_EXCHANGE_SEC: Final = 5.0


def java_finding() -> Finding:
    """Look for the Java that the local stack's broker runs on."""
    try:
        java = find_java()
    except StackError as missing:
        return warning("java", "none for a broker on this machine", f"only the demo and tests need it: {missing}")
    return ok("java", f"{java.version}, for the demo and tests")


def disk_finding(folder: Path, enough: int = _ENOUGH_BYTES, least: int = _LEAST_BYTES) -> Finding:
    """Look at the room for a worker's tables, in a folder that need not exist yet."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        return error("disk", f"{existing} is a file", "set WORKER_DATA_DIR to a folder")
    free = shutil.disk_usage(existing).free
    found = f"{free >> 20} MB free for {folder}"
    if free >= enough:
        return ok("disk", found)
    return (error if free < least else warning)("disk", found, f"make room, {enough >> 20} MB or more, or move it")


def exchange_finding(config: Settings, *, needed: bool) -> Finding:
    """Ask the exchange whether it is there; `needed` makes its absence an error."""
    url = config.binance_http_url or BINANCE_HTTP_URL
    try:
        with urllib.request.urlopen(f"{url}/api/v3/ping", timeout=_EXCHANGE_SEC):  # noqa: S310 - http(s) by its type
            return ok("exchange", f"{url} answers")
    except HTTPError as refusal:
        refusal.close()
        found = f"{url} answers with status {refusal.code}"
    except OSError as absence:
        found = f"{url} does not answer: {getattr(absence, 'reason', absence)}"
    advice = "check the network and BINANCE_HTTP_URL; only the producer needs it"
    return (error if needed else warning)("exchange", found, advice)
