"""What pages say stands somewhere else too: tables, figures of pictures, decisions."""

import re
from pathlib import Path
from typing import Final

import pytest

from app.settings import SECRETS
from scripts import docs_pages
from support.command_checks import SETTINGS, of_compose
from support.pages import DOCS, pages, without_blocks

# Names in capitals that are no settings of ours.
OTHERS: Final = {
    "FAUST_LOOP": "Faust's own, set by app/__main__.py",
    "JAVA_HOME": "read by whatever looks for a Java",
    "OTEL_BSP_SCHEDULE_DELAY": "OpenTelemetry's own",
    "OTEL_EXPORTER_OTLP_CERTIFICATE": "OpenTelemetry's own",
    "OTEL_EXPORTER_OTLP_HEADERS": "OpenTelemetry's own",
    "OTEL_RESOURCE_ATTRIBUTES": "OpenTelemetry's own",
    "OTEL_SDK_DISABLED": "OpenTelemetry's own",
    "SASL_PLAINTEXT": "a value of KAFKA_SECURITY_PROTOCOL",
    "SASL_SSL": "a value of KAFKA_SECURITY_PROTOCOL",
    "STATE_VERSION": "a constant of app/microstructure/engine.py",
}
PERFORMANCE: Final = (DOCS / "performance.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("page", "name"), docs_pages.TABLES)
def test_a_table_with_a_source_is_up_to_date(page: str, name: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert docs_pages.made(page, name, text) == text, "run `make docs`"


def test_capacity_follows_its_figures() -> None:
    row = [cell.strip() for cell in docs_pages.capacity_table().splitlines()[2].split("|")[1:-1]]
    figures = docs_pages._figures((DOCS / "capacity.md").read_text(encoding="utf-8"))
    assert row[:2] == ["3\xa0×\xa0200", "2"]
    assert row[5] == f"{600 * figures['event_bytes'] * figures['compression'] / 1e6:,.1f}"


def test_what_lies_beyond_what_was_measured_is_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = docs_pages._figures((DOCS / "capacity.md").read_text(encoding="utf-8"))
    for name in ("worker_measured_events", "workers_measured", "producer_measured_events", "kafka_measured_events"):
        monkeypatch.setitem(figures, name, 0)
    monkeypatch.setattr(docs_pages, "_figures", lambda _: figures)
    rows = docs_pages.capacity_table().splitlines()[2:]
    assert [row.count("≈") for row in rows] == [7] * len(rows)


def test_every_figure_of_capacity_says_where_it_is_from() -> None:
    rows = re.findall(
        r"^\| `\w+` \| [\d.,]+ \|(.*)\|$", (DOCS / "capacity.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert len(rows) > 10
    assert all(row.rpartition("|")[2].strip() for row in rows)


def test_the_steps_of_the_failover_take_as_long_as_measured() -> None:
    drawn = re.findall(
        r"(?:up to )?[\d–]+ ms(?=</text>)", (DOCS / "assets" / "failover.svg").read_text(encoding="utf-8")
    )
    steps = drawn[drawn.index("20 ms") :]
    told = PERFORMANCE.partition("Where the time of a `kill -9` goes")[2].partition("\n\n")[0]
    assert len(steps) == 5
    for step in steps:
        assert step in " ".join(told.split()), f"{step} is not in docs/performance.md"


def test_every_decision_is_in_the_list() -> None:
    listed = (DOCS / "adr" / "README.md").read_text(encoding="utf-8")
    for path in sorted((DOCS / "adr").glob("0*.md")):
        number = int(path.name[:4])
        assert f"[{number}]({path.name})" in listed


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_every_page_has_one_title(path: Path) -> None:
    assert len(re.findall(r"^# ", without_blocks(path), re.MULTILINE)) == 1


def test_every_variable_that_a_page_names_is_a_setting() -> None:
    known = SETTINGS | {f"{secret.upper()}_FILE" for secret in SECRETS} | of_compose()
    named = {
        name
        for path in pages()
        for name in re.findall(r"`([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^`]*)?`", without_blocks(path))
    }
    assert named - known == set(OTHERS)
