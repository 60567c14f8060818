import json

import pytest

from app.doctor.findings import as_json, as_text, error, healthy, ok, warning
from app.doctor.redis_checks import clock_finding, memory_finding, version_finding


def test_findings_are_a_line_each_with_sign_and_advice() -> None:
    lines = as_text([ok("kafka", "is there"), warning("java", "none", "install it"), error("clock", "wrong", "set it")])
    assert lines.splitlines() == ["✓ kafka  is there", "! java   none: install it", "✗ clock  wrong: set it"]


def test_warnings_are_healthy_and_errors_are_not() -> None:
    assert healthy([ok("a", "b"), warning("a", "b", "c")])
    assert not healthy([ok("a", "b"), error("a", "b", "c")])


def test_findings_are_one_json_object() -> None:
    content = json.loads(as_json([error("clock", "wrong", "set it")]))
    finding = {"check": "clock", "status": "error", "found": "wrong", "advice": "set it"}
    assert content == {"healthy": False, "findings": [finding]}


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"redis_version": "8.0.1"}, "ok"),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, "ok"),
        ({"redis_version": "7.0.15"}, "warning"),
        ({"redis_version": "6.2.7"}, "error"),
    ],
)
def test_versions_are_judged(info: dict[str, str], status: str) -> None:
    assert version_finding(info).status == status


@pytest.mark.parametrize(
    ("policy", "limit", "status"),
    [
        ("noeviction", 0, "ok"),
        ("volatile-ttl", 1 << 30, "ok"),
        ("allkeys-lru", 1 << 30, "error"),
        ("allkeys-random", 0, "warning"),
    ],
)
def test_a_policy_that_could_throw_epochs_away_is_no_good(policy: str, limit: int, status: str) -> None:
    assert memory_finding({"maxmemory_policy": policy, "maxmemory": limit}).status == status


@pytest.mark.parametrize(
    ("ahead", "status", "said"), [(0.1, "ok", "within"), (3.0, "error", "3.0 s ahead"), (-3.0, "error", "3.0 s behind")]
)
def test_clocks_are_compared(ahead: float, status: str, said: str) -> None:
    finding = clock_finding(ahead)
    assert finding.status == status
    assert said in finding.found
