"""What a check found, and how that is shown."""

from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec

Status = Literal["ok", "warning", "error"]
_SIGNS: Final[dict[Status, str]] = {"ok": "✓", "warning": "!", "error": "✗"}


class Finding(msgspec.Struct, frozen=True):
    """One line: what was looked at, what was found, and what to do where that is not as it should be."""

    check: str
    status: Status
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return a finding that asks for nothing."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return a finding that may be meant so."""
    return Finding(check, "warning", found, advice)


def error(check: str, found: str, advice: str) -> Finding:
    """Return a finding that will stop or spoil the work."""
    return Finding(check, "error", found, advice)


def healthy(findings: Sequence[Finding]) -> bool:
    """Whether there is no error among the findings; warnings are allowed."""
    return all(each.status != "error" for each in findings)


def as_text(findings: Sequence[Finding]) -> str:
    """Return a line for each finding."""
    width = max((len(each.check) for each in findings), default=0)
    lines = []
    for each in findings:
        advice = f": {each.advice}" if each.advice else ""
        lines.append(f"{_SIGNS[each.status]} {each.check:{width}}  {each.found}{advice}")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """Return the findings as one JSON object: `healthy`, and `findings` with check, status, found and advice."""
    content: dict[str, Any] = {"healthy": healthy(findings), "findings": list(findings)}
    return msgspec.json.format(msgspec.json.encode(content)).decode()
