"""A scorecard as text: Markdown tables for docs/detectors.md, or JSON.

The document is written by hand, except for what stands between two markers: there the tables go.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from app.scorecard.inject import STRENGTHS
from app.scorecard.summary import DetectorScore, Rate, Scorecard, Share

BEGIN: Final = "<!-- scorecard: begin -->"
END: Final = "<!-- scorecard: end -->"

_NAMES: Final = {"spoofing": "Spoofing", "iceberg": "Iceberg", "flash_crash_risk": "Flash-crash risk"}
_SOURCES: Final = {"sim": "synthetic market", "tape": "recorded tape"}


def to_json(card: Scorecard) -> str:
    """Return the scorecard as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(card), indent=2).decode() + "\n"


def into_document(document: str, card: Scorecard) -> str:
    """Return `document` with the tables between its markers, or the tables alone where it has none."""
    tables = to_markdown(card)
    head, begin, rest = document.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        return tables
    return f"{head}{BEGIN}\n\n{tables}\n{END}{tail}"


def write(path: Path, card: Scorecard) -> None:
    """Write JSON or Markdown, by the name's ending."""
    if path.suffix == ".json":
        path.write_text(to_json(card))
    else:
        path.write_text(into_document(path.read_text() if path.exists() else "", card))


def to_markdown(card: Scorecard) -> str:
    """Return the tables."""
    return "\n".join([*_scope(card), *_overview(card), *_severities(card), *_kinds(card), *_contexts(card)])


def _scope(card: Scorecard) -> Iterator[str]:
    hours = ", ".join(f"{hours:.1f} h of the {_SOURCES[source]}" for source, hours in card.hours.items())
    yield f"{len(card.seeds)} seeds, {card.seeds[0]} to {card.seeds[-1]}; {card.trials} trials: {hours}."
    yield ""


def _overview(card: Scorecard) -> Iterator[str]:
    yield "### Precision, recall and delay"
    yield ""
    yield from _table(
        ("detector", "market", "precision", "recall", "delay median / P90", "false alarms an hour, nothing injected"),
        ((*_who(s), _share(s.precision), _share(s.recall), _delay(s), _rate(s.clean)) for s in card.scores),
    )


def _severities(card: Scorecard) -> Iterator[str]:
    yield "### By severity"
    yield ""
    yield from _table(
        ("detector", "market", "severity", "recall of this strength", *(f"called {s}" for s in STRENGTHS), "precision"),
        (
            (
                *_who(score),
                row.severity,
                _share(row.recall),
                *(str(row.called[called]) for called in STRENGTHS),
                _share(row.precision),
            )
            for score in card.scores
            for row in score.severities
        ),
    )


def _kinds(card: Scorecard) -> Iterator[str]:
    for role, title, fired in (
        ("pattern", "Patterns, by kind", "found"),
        ("look_alike", "Look-alikes: none may fire", "fired on"),
        ("probe", "Probes at the edge of the definition: neither right nor wrong", "found"),
    ):
        yield f"### {title}"
        yield ""
        yield from _table(
            ("kind", "what it is", "market", "played", fired),
            (
                (kind.kind, kind.what, _SOURCES[score.source], str(kind.played), str(kind.fired))
                for score in card.scores
                for kind in score.kinds
                if kind.role == role
            ),
        )


def _contexts(card: Scorecard) -> Iterator[str]:
    yield "### False alarms in the injected trials, by what went on"
    yield ""
    yield from _table(
        ("detector", "market", "false alarms"),
        ((*_who(score), _counts(score.false_alarms_by_context)) for score in card.scores),
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _who(score: DetectorScore) -> tuple[str, str]:
    return _NAMES[score.detector], _SOURCES[score.source]


def _share(share: Share) -> str:
    if share.value is None:
        return "–"
    return f"{share.value:.3f} ({share.hits}/{share.of}; {share.low:.2f}–{share.high:.2f})"


def _rate(rate: Rate) -> str:
    if rate.per_hour is None:
        return "–"
    return f"{rate.per_hour:.2f} ({rate.count} in {rate.hours:.2f} h; at most {rate.at_most:.2f})"


def _delay(score: DetectorScore) -> str:
    if score.delay_median is None:
        return "–"
    return f"{score.delay_median:.1f} s / {score.delay_p90:.1f} s"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{context} {count}" for context, count in counts.items()) or "none"
