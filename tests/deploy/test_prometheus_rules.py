"""Configuration and rules of Prometheus: what promtool says, and what an operator is promised."""

import re
from pathlib import Path

import pytest

from app.stack.prometheus import RULES
from support.observing import DEPLOY, alert_names, hasten, promtool

FOLDER = DEPLOY / "prometheus"
UNIT_TESTS = sorted((FOLDER / "tests").glob("*.yml"))
ALERTS = (RULES / "alerts.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["prometheus.yml", "compose.yml"])
def test_prometheus_takes_the_configuration(name: str) -> None:
    said = promtool("check", "config", FOLDER / name)
    assert f"{FOLDER / name} is valid" in said
    assert len(re.findall(r"SUCCESS: \d+ rules found", said)) == 2, "both files of rules are used"


def test_prometheus_takes_the_rules_and_has_nothing_to_say_about_them() -> None:
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *sorted(RULES.glob("*.yml")))
    assert f"SUCCESS: {len(alert_names())} rules found" in said


@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_rules_do_what_their_unit_tests_say(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


def test_every_alert_is_shown_firing_and_shown_silent() -> None:
    expected = "".join(path.read_text(encoding="utf-8") for path in UNIT_TESTS)
    fired = set(re.findall(r'labels: ALERTS\{alertname="(\w+)", alertstate="firing"', expected))
    silent = set()
    # An expression without samples: nothing fires.
    for names in re.findall(
        r'expr: [^\n]*alertname=~?"([\w|]+)"[^\n]*\n\s+eval_time: \w+\n(?!\s+exp_samples)', expected
    ):
        silent.update(names.split("|"))
    assert fired == set(alert_names())
    assert set(alert_names()) - silent == set()


def test_every_alert_says_what_it_is_what_to_do_and_where_to_read_on() -> None:
    blocks = re.split(r"(?m)^\s+- alert: ", ALERTS)[1:]
    for block in blocks:
        name = block.split()[0]
        assert "severity: critical" in block or "severity: warning" in block, name
        assert 'summary: "' in block, name
        described = re.search(r"description: >-\n((?:\s{12}\S.*\n)+)", block)
        assert described is not None, name
        assert len(described[1].split()) >= 15, f"{name}: the description says too little"
        assert f"runbook_url: docs/runbooks/troubleshooting.md#{name.lower()}\n" in block, name


_HURRIED = """
  - name: a
    interval: %s
    rules:
      - alert: A
        expr: rate(a[%s]) > 30 and avg_over_time(b[%s:%s]) < 200 and c[%s] > 5000 unless d offset %s
        for: %s
        annotations: {summary: "waits 5m"}
"""


def test_hastening_divides_durations_and_leaves_thresholds_alone() -> None:
    rules = _HURRIED % ("15s", "5m", "30m", "15s", "1m", "5m", "30s")
    assert hasten(rules, 30) == _HURRIED % ("500ms", "10000ms", "60000ms", "500ms", "2000ms", "10000ms", "1000ms")
