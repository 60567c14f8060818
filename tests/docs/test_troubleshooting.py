"""runbooks/troubleshooting.md is read when something is wrong, so it says what the code says."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

from app import exit_codes
from support.pages import DOCS, ROOT, anchors, section
from support.yaml_files import read_yaml

PAGE: Final = DOCS / "runbooks" / "troubleshooting.md"
RULES: Final = ROOT / "deploy" / "prometheus" / "rules"


def alerts() -> list[dict[str, Any]]:
    files = [read_yaml(path) for path in sorted(RULES.glob("*.yml"))]
    rules = [rule for each in files for group in each["groups"] for rule in group["rules"]]
    return [rule for rule in rules if "alert" in rule]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_the_runbook_of_an_alert_is_there(rule: dict[str, Any]) -> None:
    path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert ROOT / path == PAGE
    assert anchor == rule["alert"].lower()
    assert anchor in anchors(PAGE)


def test_every_section_of_an_alert_belongs_to_one() -> None:
    headings = re.findall(r"^### (\w+)$", section(PAGE, "Alerts"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in alerts()]


def test_exit_codes_are_those_of_the_code() -> None:
    table = re.findall(r"^\| (\d) \|", section(PAGE, "Exit codes"), re.MULTILINE)
    codes = sorted(value for name, value in vars(exit_codes).items() if name.isupper())
    assert [int(code) for code in table] == [0, *codes]


def test_reasons_of_dead_letters_are_those_of_the_code() -> None:
    code = "".join(
        path.read_text(encoding="utf-8") for folder in ("app", "agents") for path in (ROOT / folder).rglob("*.py")
    )
    reasons = set(re.findall(r'BadEventError\("(\w+)"', code))
    reasons |= set(re.findall(r'_refuse\(name, "(\w+)"', code))
    reasons |= set(re.findall(r'_unreadable\([^"]*"(\w+)"', code))
    rows = [line.split("|")[1] for line in section(PAGE, "DeadLetters").splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) == reasons


ERRORS: Final = re.findall(r"^```text\n(.*?)^```$", section(PAGE, "Errors at the start"), re.MULTILINE | re.DOTALL)
ERROR_LINES: Final = [line for block in ERRORS for line in block.splitlines()]


@pytest.mark.parametrize("line", ERROR_LINES)
def test_an_error_is_printed_by_the_code_as_the_page_has_it(line: str) -> None:
    assert any(form.fullmatch(line) for form in forms()), "no string of the code gives this line"


def test_an_error_that_nobody_prints_is_found_out() -> None:
    assert len(ERROR_LINES) > 10
    assert not any(form.fullmatch("topic nt.binance is lost: run `context8 topics`") for form in forms())


_PUT_IN: Final = r"\0|%[a-z.\d]*[sdrf]|\{\w*\}"  # of an f-string, of a log line, of str.format


@cache
def forms() -> list[re.Pattern[str]]:
    """Every string of the code with some words in it, values put in being anything."""
    found = []
    for folder in ("app", "agents", "producer", "mcp/report_server"):
        for path in (ROOT / folder).rglob("*.py"):
            found += _forms(path)
    return found


def _forms(path: Path) -> list[re.Pattern[str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = [_text(node) for node in ast.walk(tree)]
    sentences = [text for text in texts if text is not None and len(re.findall(r"\b[A-Za-z_]{2,}\b", text)) >= 3]
    return [re.compile(".+".join(map(re.escape, re.split(_PUT_IN, text)))) for text in sentences]


def _text(node: ast.AST) -> str | None:
    """Return a string with NUL for each value that is put into it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
        return "".join(map(str, parts))
    return None
