"""The panels and queries of the Grafana dashboards, and which metrics and labels a query speaks of."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from support.observing import DEPLOY

FOLDER: Final = DEPLOY / "grafana" / "dashboards"
# What Grafana puts in for its variables.
_VARIABLES: Final = {"$__rate_interval": "10s", "$symbol": ".*"}
_WORDS: Final = frozenset(("and", "or", "unless", "by", "without", "on", "ignoring", "bool", "offset", "inf", "nan"))
_GROUPING: Final = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR: Final = re.compile(r"([a-zA-Z_:][\w:]*)?\{([^}]*)\}")
_NAME: Final = re.compile(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()")


class Query(NamedTuple):
    """One query of a panel, as Grafana sends it."""

    where: str
    promql: str
    legend: str


class Spoken(NamedTuple):
    """Labels by metric as selectors ask for them, and labels that a query groups by or shows."""

    metrics: dict[str, set[str]]
    labels: set[str]


def dashboards() -> dict[str, dict[str, Any]]:
    """Return every dashboard by the name of its file."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    """Return every query of every panel and annotation, with values for Grafana's variables."""
    for name, dashboard in dashboards().items():
        for annotation in dashboard["annotations"]["list"]:
            yield Query(f"{name}: {annotation['name']}", annotation["expr"], annotation["textFormat"])
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield Query(f"{name}: {panel['title']}", _filled(target["expr"]), target["legendFormat"])


def spoken(query: Query) -> Spoken:
    """Return the metrics and labels that a query speaks of."""
    text = re.sub(r'"(?:[^"\\]|\\.)*"', '""', query.promql)
    text = re.sub(r"\[[^\]]*\]", "", text)
    labels = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    for group in _GROUPING.findall(text):
        labels.update(part.strip() for part in group.split(",") if part.strip())
    text = _GROUPING.sub(" ", text)
    metrics: dict[str, set[str]] = {}
    for name, matchers in _SELECTOR.findall(text):
        metrics.setdefault(name, set()).update(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))
    for name in _NAME.findall(_SELECTOR.sub(" ", text)):
        if name not in _WORDS:
            metrics.setdefault(name, set())
    return Spoken(metrics, labels - {"le"})


def _filled(promql: str) -> str:
    for variable, value in _VARIABLES.items():
        promql = promql.replace(variable, value)
    return promql
