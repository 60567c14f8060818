"""What a soak found, as tables for docs/performance.md and as JSON for whoever looks into it."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from soak.gaps import Gap, longest_by_kind
from soak.judge import Violation
from soak.resources import Usage
from soak.timeline import Window


class Outcome(NamedTuple):
    """All that a soak found."""

    seed: int
    seconds: float
    reports: int
    trades: int
    trades_twice: int
    trades_missing: int
    windows: Sequence[Window]
    gaps: Sequence[Gap]
    violations: Sequence[Violation]
    counts: Mapping[str, int]
    lives: Mapping[str, tuple[Usage, Usage]]
    skipped: Mapping[str, str]
    unseen_sec: float


def markdown(outcome: Outcome) -> str:
    """Return the summary: faults with the longest gaps, then processes, then what was broken."""
    faults = Counter(each.kind for each in outcome.windows)
    longest = longest_by_kind(outcome.gaps)
    lines = [
        "| fault | times | longest gap between reports, s (may be) | longest gap of fresh data, s (may be) |",
        "| --- | --- | --- | --- |",
    ]
    for kind in sorted(faults) + (["none"] if any(kind == "none" for kind, _ in longest) else []):
        cells = [_gap(longest.get((kind, data))) for data in (False, True)]
        lines.append(f"| {kind} | {faults.get(kind, '–')} | {' | '.join(cells)} |")
    lines += [
        "",
        "| process | life, s | RSS after a minute / at the end, MB | open files | threads |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, (first, last) in sorted(outcome.lives.items()):
        lines.append(
            f"| {name} | {last.at - first.at + 60:.0f} | {first.rss_mb:.0f} / {last.rss_mb:.0f} "
            f"| {first.files} / {last.files} | {first.threads} / {last.threads} |"
        )
    lines += ["", _words(outcome)]
    return "\n".join(lines)


def _gap(gap: Gap | None) -> str:
    return "within 2 s" if gap is None else f"{gap.lasted:.1f} ({gap.allowed:.0f})"


def _words(outcome: Outcome) -> str:
    broken = ", ".join(f"{rule}: {count}" for rule, count in sorted(outcome.counts.items())) or "none"
    skipped = "".join(f" Left out: {kind}, {why}." for kind, why in outcome.skipped.items())
    return (
        f"`make soak SECONDS={outcome.seconds:.0f} SEED={outcome.seed}`: {len(outcome.windows)} faults, "
        f"{outcome.reports:,} reports judged, {outcome.trades:,} trades in the topic, {outcome.trades_twice:,} of them "
        f"twice, {outcome.trades_missing:,} never received while the source was away. Nobody looked for "
        f"{outcome.unseen_sec:.1f} s.{skipped} Violations: {broken}."
    )


def as_json(outcome: Outcome) -> str:
    """Return violations and gaps with all that is known of them."""
    return json.dumps(
        {
            "seed": outcome.seed,
            "seconds": outcome.seconds,
            "violations": [each._asdict() for each in outcome.violations],
            "counts": dict(outcome.counts),
            "gaps": [
                each._asdict()
                | {"lasted": each.lasted, "allowed": each.allowed, "causes": [cause.kind for cause in each.causes]}
                for each in outcome.gaps
            ],
        },
        indent=1,
    )
