"""A real Prometheus in tests: its program, what it answers, and the project's rules in a hurry.

Rules wait: half a minute before they fire, minutes before they forget. A test cannot. `hastened` divides every duration
in them, `for:`, ranges in brackets and intervals, by one number, and leaves expressions and thresholds as they are. No
range gets shorter than `_LEAST_SEC`, in which there must be several scrapes.
"""

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

import aiohttp
import pytest

from app.stack.errors import StackError
from app.stack.prometheus import RULES, find_program

DEPLOY: Final = RULES.parents[1]
_LEAST_SEC: Final = 2.0
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION: Final = r"(\d+)([smh])"


def program(name: str) -> Path:
    """Return `prometheus` or `promtool`; otherwise end the test with the reason."""
    try:
        return find_program(name)
    except StackError as error:
        not_here(str(error))


def not_here(reason: str) -> NoReturn:
    """End a test that this machine cannot run: skip it with the reason, or fail it in CI."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def promtool(*arguments: str | Path) -> str:
    """Return what promtool prints; fail the test with it if promtool is not content."""
    ran = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def hastened(times: float, folder: Path) -> list[Path]:
    """Write the project's rules, with every duration divided by `times`, into `folder`; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for rules in sorted(RULES.glob("*.yml")):
        files.append(folder / rules.name)
        files[-1].write_text(hasten(rules.read_text(encoding="utf-8"), times), encoding="utf-8")
    return files


def hasten(rules: str, times: float) -> str:
    """Return the text of rules with every duration divided by `times`."""

    def shorter(amount: str, unit: str, least: float = 0.0) -> str:
        return f"{max(least, float(amount) * _UNITS[unit] / times) * 1000:.0f}ms"

    def waits(found: re.Match[str]) -> str:
        return f"{found[1]}{shorter(found[2], found[3])}"

    def spans(found: re.Match[str]) -> str:
        step = f":{shorter(found[3], found[4], 0.5)}" if found[3] else ""
        return f"[{shorter(found[1], found[2], _LEAST_SEC)}{step}]"

    rules = re.sub(rf"(?m)^(\s+(?:for|interval): ){_DURATION}$", waits, rules)
    rules = re.sub(rf"( offset ){_DURATION}\b", waits, rules)
    return re.sub(rf"\[{_DURATION}(?::{_DURATION})?\]", spans, rules)


def alert_names() -> list[str]:
    """Return the names of all alerts of the project."""
    return re.findall(r"(?m)^\s+- alert: (\w+)$", (RULES / "alerts.yml").read_text(encoding="utf-8"))


class Answers:
    """What a Prometheus at `url` answers over HTTP."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def get(self, path: str, **parameters: str | Sequence[str]) -> Any:
        """Return the data of an answer; fail the test with Prometheus' words if it is an error."""
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            session.get(f"{self._url}/api/v1/{path}", params=parameters) as answer,
        ):
            body = await answer.json()
        assert body["status"] == "success", f"{parameters}: {body.get('error')}"
        return body["data"]

    async def query(self, promql: str) -> list[dict[str, Any]]:
        """Return the samples of a query as of now; a single number has no labels."""
        data = await self.get("query", query=promql)
        return [{"metric": {}, "value": data["result"]}] if data["resultType"] == "scalar" else list(data["result"])

    async def firing(self) -> dict[str, list[dict[str, str]]]:
        """Return the labels of each alert that fires, by its name."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in (await self.get("alerts"))["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"] | alert["annotations"])
        return found

    async def series(self, selector: str) -> list[dict[str, str]]:
        """Return the labels of every series that the selector has ever matched."""
        return list(await self.get("series", **{"match[]": selector}))
