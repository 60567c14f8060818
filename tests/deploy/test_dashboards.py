"""The dashboards as files; tests/system/test_alerts.py holds their queries to what a running system exports."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.stack.prometheus import Prometheus
from support.dashboards import FOLDER, Query, dashboards, panels, queries, spoken
from support.observing import DEPLOY, Answers, program

SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Give a Prometheus that scrapes nothing."""
    program("prometheus")
    with Prometheus(tmp_path_factory.mktemp("prometheus"), {}) as running:
        yield running


def test_the_dashboards_are_what_the_pages_make_of_them(tmp_path: Path) -> None:
    subprocess.run([sys.executable, DEPLOY / "grafana" / "build.py", tmp_path], check=True)
    made = {path.name: path.read_text(encoding="utf-8") for path in tmp_path.glob("*.json")}
    assert made == {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.json")}, (
        "run: python deploy/grafana/build.py"
    )


def test_there_is_one_for_the_fleet_symbols_the_reader_and_kafka() -> None:
    assert set(dashboards()) == {"fleet", "symbol", "reader", "kafka"}
    uids = [dashboard["uid"] for dashboard in dashboards().values()]
    assert len(set(uids)) == len(uids)


def test_every_panel_has_a_title_a_unit_a_description_and_a_data_source_by_variable() -> None:
    for name, dashboard in dashboards().items():
        variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
        assert variables["datasource"]["type"] == "datasource", name
        identities = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(identities)) == len(identities), name
        for panel in panels(dashboard):
            what = f"{name}: {panel['title']}"
            assert panel["title"], what
            assert panel["description"].endswith("."), what
            assert panel["fieldConfig"]["defaults"]["unit"], what
            assert panel["datasource"] == SOURCE, what
            assert panel["targets"], what
            assert [target["datasource"] for target in panel["targets"]] == [SOURCE] * len(panel["targets"]), what


def test_panels_do_not_overlap_and_fit_into_the_page() -> None:
    for name, dashboard in dashboards().items():
        taken: dict[tuple[int, int], str] = {}
        for panel in dashboard["panels"]:
            where = panel["gridPos"]
            assert where["x"] + where["w"] <= 24, f"{name}: {panel['title']}"
            for cell in [
                (x, y)
                for x in range(where["x"], where["x"] + where["w"])
                for y in range(where["y"], where["y"] + where["h"])
            ]:
                assert cell not in taken, f"{name}: {panel['title']} lies on {taken[cell]}"
                taken[cell] = panel["title"]


def test_green_is_well_at_the_top_of_every_page() -> None:
    for name, dashboard in dashboards().items():
        first_row = [panel for panel in panels(dashboard) if panel["gridPos"]["y"] < 10 and panel["type"] == "stat"]
        colors = [
            [step["color"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"]] for panel in first_row
        ]
        assert len([each for each in colors if "green" in each and "red" in each]) >= 3, name
        for panel in first_row:
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            values = [step["value"] for step in steps[1:]]
            assert steps[0]["value"] is None
            assert values == sorted(values), f"{name}: {panel['title']}"


def test_the_symbol_page_is_chosen_by_symbol_and_other_pages_lead_to_it() -> None:
    pages = dashboards()
    symbol = next(v for v in pages["symbol"]["templating"]["list"] if v["name"] == "symbol")
    assert (symbol["multi"], symbol["includeAll"]) == (True, True)
    links = [
        link["url"] for panel in panels(pages["fleet"]) for link in panel["fieldConfig"]["defaults"].get("links", ())
    ]
    assert {link.partition("?")[0] for link in links} == {f"/d/{pages['symbol']['uid']}"}


async def test_prometheus_can_parse_every_query(prometheus: Prometheus) -> None:
    answers = Answers(prometheus.url)
    every = list(queries())
    assert len(every) > 50
    for query in every:
        await answers.query(query.promql)


def test_what_a_query_speaks_of_is_found() -> None:
    found = spoken(
        Query(
            "",
            'histogram_quantile(0.9, sum by (le, job) (rate(a_bucket{b="x,y{z}", c=~"d"}[5m:10s]))) > bool 3 '
            "and on (instance) up == 1 or vector(0)",
            "{{job}} {{type}}",
        )
    )
    assert found.metrics == {"a_bucket": {"b", "c"}, "up": set()}
    assert found.labels == {"job", "instance", "type"}
