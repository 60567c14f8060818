"""The form of a dashboard: what a page says of a panel, as the JSON that Grafana reads.

Grafana's own form of a panel is 60 lines of JSON of which ten say something; those ten are in `Panel`.
"""

import json
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

TAG: Final = "context8"
_WIDTH: Final = 24
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
_COLORS: Final = ("green", "yellow", "red")


class Panel(NamedTuple):
    """One panel.

    Attributes:
        title: its heading.
        description: what it shows, what is good, what to do otherwise.
        unit: Grafana's name of the unit.
        queries: PromQL by the text of its legend.
        limits: where green ends and yellow and red begin; a falling pair where more is better, `()` for no colours.
        kind: Grafana's type of the panel.
        width: of 24.
        link: address that a click on a value opens.
    """

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    limits: tuple[float, ...] = ()
    kind: str = "timeseries"
    width: int = 8
    link: str = ""


class Dashboard(NamedTuple):
    """Rows of panels, by their headings."""

    uid: str
    title: str
    description: str
    rows: dict[str, Sequence[Panel]]
    by_symbol: bool = False


def render(dashboard: Dashboard) -> str:
    """Return the dashboard as Grafana reads it."""
    panels: list[dict[str, Any]] = []
    top = 0
    for heading, row in dashboard.rows.items():
        where = {"h": 1, "w": _WIDTH, "x": 0, "y": top}
        panels.append({"id": len(panels) + 1, "type": "row", "title": heading, "collapsed": False, "gridPos": where})
        top, left, height = top + 1, 0, 0
        for panel in row:
            if left + panel.width > _WIDTH:
                top, left = top + height, 0
            height = 4 if panel.kind in ("stat", "gauge") else 8
            where = {"h": height, "w": panel.width, "x": left, "y": top}
            panels.append({"id": len(panels) + 1, "gridPos": where, **_panel(panel)})
            left += panel.width
        top += height
    return json.dumps(_frame(dashboard) | {"panels": panels}, indent=1, ensure_ascii=False) + "\n"


def _frame(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.description,
        "tags": [TAG],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "links": [
            {"type": "dashboards", "title": "context8", "tags": [TAG], "asDropdown": False, "keepTime": True},
            # Grafana lists Prometheus' alerts there, each with its runbook.
            {"type": "link", "title": "Alerts", "icon": "bolt", "url": "/alerting/list"},
        ],
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "datasource": _SOURCE,
                    "enable": True,
                    "iconColor": "red",
                    "expr": 'ALERTS{alertstate="firing"}',
                    "titleFormat": "{{alertname}}",
                    "textFormat": "{{symbol}} {{instance}}",
                }
            ]
        },
        "templating": {"list": _variables(dashboard.by_symbol)},
    }


def _variables(by_symbol: bool) -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    symbol = {
        "name": "symbol",
        "label": "Symbol",
        "type": "query",
        "datasource": _SOURCE,
        "query": "label_values(context8_report_age_ms, symbol)",
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
    }
    return [source, symbol] if by_symbol else [source]


def _panel(panel: Panel) -> dict[str, Any]:
    instant = panel.kind != "timeseries"
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": _steps(panel.limits)}}
    if panel.link:
        defaults["links"] = [{"title": "Look closer", "url": panel.link}]
    if not instant:
        shown = "area" if panel.limits else "off"
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "thresholdsStyle": {"mode": shown}}
    if panel.unit == "percentunit":
        defaults |= {"min": 0, "max": 1}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": _options(panel.kind),
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            | ({"instant": True, "range": False} if instant else {"range": True})
            for number, (legend, expr) in enumerate(panel.queries.items())
        ],
    }


def _steps(limits: tuple[float, ...]) -> list[dict[str, Any]]:
    if not limits:
        return [{"color": "blue", "value": None}]
    rising = limits[0] <= limits[-1]
    colors = list(_COLORS if rising else _COLORS[::-1])
    if len(limits) == 1:  # no yellow then
        del colors[1]
    return [{"color": color, "value": value} for color, value in zip(colors, [None, *sorted(limits)], strict=True)]


def _options(kind: str) -> dict[str, Any]:
    if kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "textMode": "auto"}
