import json
from typing import Any

import pytest

from report_server import metric_docs, schema
from report_server.metric_docs import UnknownMetricError, explain
from report_server.selection import SECTIONS


@pytest.mark.parametrize(
    ("name", "title", "words"),
    [
        ("micro_price", "Level 1", "(bid × ask_qty + ask × bid_qty) / (bid_qty + ask_qty)"),
        ("spread_bps", "Level 1", "basis points"),
        ("depth.imbalance", "Depth", "(sum_bid − sum_ask) / (sum_bid + sum_ask)"),
        ("net_flow", "Flow", "Σ ± qty"),
        ("liquidity.walls", "Walls", "P95"),
        ("wall", "Walls", "P95"),
        ("POC", "Volume profile", "70"),
        ("Flash-crash risk", "Flash-crash risk", "confirm"),
        ("flash_crash_risk", "Flash-crash risk", "confirm"),
        ("health.score", "Health", "weight"),
        ("ingestion.status", "Ingestion", "degraded"),
        ("provenance.as_of", "provenance.as_of", "event time of the report"),
        ("anomalies", "anomalies", "spoofing"),
        ("last_price", "last_price", "24 hours"),
    ],
)
def test_a_name_is_explained_by_its_section(name: str, title: str, words: str) -> None:
    explanation = explain(name)

    assert explanation.title.startswith(title)
    assert words in explanation.text


def test_examples_and_sources_are_left_out() -> None:
    for name in metric_docs.names():
        text = explain(name).text
        assert ">>>" not in text
        assert "**Source.**" not in text
        assert text.strip()


def test_every_section_of_a_report_that_is_more_than_a_label_is_explained() -> None:
    labels = {"schemaVersion", "report_version", "symbol", "venue", "writer"}

    assert set(SECTIONS) - set(metric_docs.names()) == labels


def test_every_name_in_the_list_is_one_that_is_explained() -> None:
    properties: dict[str, Any] = json.loads(schema.report_schema())["properties"]

    assert {explain(name).name for name in metric_docs.names()} >= {"walls", "iceberg", "best_bid"}
    assert set(metric_docs.names()) & set(properties)


@pytest.mark.parametrize("name", ["", "nosuch", None, 7, [], "x" * 10_000, "../../etc/passwd", "health\n"])
def test_an_unknown_name_says_which_there_are(name: object) -> None:
    if name == "health\n":
        assert explain(name).name == "health"
        return
    with pytest.raises(UnknownMetricError, match=r"allowed: .*spread_bps.*walls") as refused:
        explain(name)
    assert len(str(refused.value)) < 700
