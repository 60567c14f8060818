"""`make soak`: the whole system under random faults from a seed, watched from outside by a judge of its own.

Three workers, three brokers, Redis, the exchange's replay server and a producer run as processes, ten symbols flow, and
every 20 to 40 s something befalls one of them. The same seed gives the same schedule. All that a failure is looked into
with is left in a folder: logs, the timeline of faults, violations, gaps and the topics.

    PYTHONPATH=.:tests python -m soak [--seconds 3600] [--seed N] [--folder F] [--only "broker kill,worker kill"]

Ends with 0 if no rule was broken, with 1 if one was, and with 2 if the system did not come up.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import jsonschema_rs
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from app.arguments import seconds
from app.stack.errors import StackError
from soak import records, replay, topics
from soak.acts import Acts
from soak.claims import Claims
from soak.gaps import QUIET_SEC, Gap, gaps
from soak.ground import CHANGELOG, DEAD_LETTERS, SYMBOLS, TOPIC, Ground
from soak.judge import Judge, Violation
from soak.resources import Resources
from soak.summary import Outcome, as_json, markdown
from soak.timeline import Timeline
from soak.watch import Watch
from support.fault_kinds import KINDS, every_kind_in_turn
from support.workers import ROOT

_PAUSES: Final = (20.0, 40.0)
_FIRST_SEC: Final = 120.0
_CALM_SEC: Final = 15.0
_SETTLE_SEC: Final = 60.0
_LOOK_SEC: Final = 0.5
_USAGE_EVERY: Final = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a soak and print what it found."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=seconds(30), default=3600.0, help="for how long faults come (default: 3600)")
    parser.add_argument("--seed", type=int, help="of the schedule; one of its own by default, which is printed")
    parser.add_argument("--folder", type=Path, help="takes logs and findings (default: a new one)")
    parser.add_argument("--only", help="kinds of fault, separated by commas (default: all)")
    args = parser.parse_args(arguments)
    only = [kind.strip() for kind in args.only.split(",")] if args.only else list(KINDS)
    if unknown := [kind for kind in only if kind not in KINDS]:
        parser.error(f"--only {unknown[0]!r} is not allowed: one of {', '.join(KINDS)}")
    seed = random.SystemRandom().randrange(1_000_000) if args.seed is None else args.seed
    folder = args.folder or Path(tempfile.mkdtemp(prefix="context8-soak-"))
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"seed {seed}, {args.seconds:.0f} s, everything in {folder}")
    try:
        outcome = Soak(folder, seed, args.seconds, only, console).run()
    except StackError as error:
        print(error, file=sys.stderr)
        return 2
    (folder / "summary.md").write_text(markdown(outcome) + "\n", encoding="utf-8")
    (folder / "findings.json").write_text(as_json(outcome), encoding="utf-8")
    console.print(markdown(outcome))
    for each in outcome.violations[:100]:
        console.print(f"VIOLATION {each.rule}: {each.symbol}: {each.detail}", style="red", markup=False)
    return 1 if outcome.violations else 0


class Soak:
    """One run."""

    def __init__(self, folder: Path, seed: int, length: float, only: Sequence[str], console: Console) -> None:
        self._folder = folder
        self._seed = seed
        self._length = length
        self._only = only
        self._console = console
        self._timeline = Timeline(folder / "timeline.jsonl")
        schema = json.loads((ROOT / "docs" / "schemas" / "report.json").read_text())
        self._validator = jsonschema_rs.validator_for(schema, validate_formats=True)
        self._judge = Judge(self._schema_error, self._tell)
        self._resources = Resources()
        self._began = time.monotonic()

    def run(self) -> Outcome:
        """Bring everything up, make faults, let it settle, and judge."""
        with Ground(self._folder).running() as ground, Watch(ground.redis.url, SYMBOLS, self._judge) as watch:
            if not watch.wait_fresh(_FIRST_SEC):
                raise StackError(f"no fresh reports of {', '.join(watch.waiting())} within {_FIRST_SEC:g} s")
            acts = Acts(ground, self._timeline)
            for kind, why in acts.skipped.items():
                self._console.print(f"left out: {kind}, {why}")
            with Claims(ground.exchange_url, SYMBOLS) as claims:
                begin = time.monotonic()
                self._make_faults(ground, acts, watch)
                acts.wait()
                watch.wait_fresh(_SETTLE_SEC, acts.look)
                self._calm(acts)
                end = time.monotonic()
                claimed = dict(claims.newest)
            self._end_source(ground, watch)
            return self._judged(ground, acts, watch, begin, end, claimed)

    def _make_faults(self, ground: Ground, acts: Acts, watch: Watch) -> None:
        kinds = [kind for kind in self._only if kind not in acts.skipped]
        # Drawn of all kinds that were asked for, so that a seed means the same where some cannot be made.
        faults = every_kind_in_turn(self._seed, self._length, self._only, _PAUSES)
        (self._folder / "schedule.txt").write_text("".join(f"{each} for {each.lasts:.1f} s\n" for each in faults))
        began, looks = time.monotonic(), 0
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, disable=not self._console.is_terminal) as progress:
            bar = progress.add_task("soak", total=self._length)
            while (now := time.monotonic() - began) < self._length:
                while faults and faults[0].at <= now:
                    fault = faults.pop(0)
                    if fault.kind in kinds:
                        self._console.print(
                            f"{now:6.0f} s  {fault.kind} for {fault.lasts:.1f} s; {self._judge.reports:,} reports, "
                            f"{sum(self._judge.counts.values())} violations, {len(watch.waiting())} symbols wait"
                        )
                        acts.begin(fault)
                acts.look()
                if looks % _USAGE_EVERY == 0:
                    self._resources.look(ground.processes())
                looks += 1
                progress.update(bar, completed=now, description=f"{sum(self._judge.counts.values())} violations")
                time.sleep(_LOOK_SEC)
            self._resources.look(ground.processes())

    def _calm(self, acts: Acts) -> None:
        """Some time without faults, in which nothing is excused any more."""
        until = time.monotonic() + _CALM_SEC
        while time.monotonic() < until:
            acts.look()
            time.sleep(_LOOK_SEC)

    def _end_source(self, ground: Ground, watch: Watch) -> None:
        """Stop the producer, which sends what it has, and wait until the last reports stand still."""
        ground.producer.stop(_SETTLE_SEC)
        ground.exchange.stop()
        before: dict[str, int] = {}
        deadline = time.monotonic() + _SETTLE_SEC
        while time.monotonic() < deadline:
            time.sleep(5.0)  # more than two slow cycles
            now = {symbol: seen[-1].offset for symbol, seen in self._judge.seen.items()}
            if now == before:
                return
            before = now

    def _judged(
        self, ground: Ground, acts: Acts, watch: Watch, begin: float, end: float, claimed: dict[str, tuple[int, float]]
    ) -> Outcome:
        windows = self._timeline.windows()
        found = list(gaps(self._judge.seen, begin, end, windows, watch.pauses))
        for each in found:
            if each.lasted > each.allowed:
                self._judge.broken(each.began, "every second is accounted for", each.symbol, _told(each, begin))
        for at, name, code in acts.ended_by_themselves:
            self._judge.broken(at, "nobody ends by itself", name, f"exit code {code} at {at - begin:.1f} s")
        if watch.failure is not None:
            self._judge.broken(end, "the watch goes on", "", repr(watch.failure))
        for failure in acts.failures:
            self._judge.broken(end, "faults can be made", "", failure)
        topic = records.TopicJudge(windows)
        self._of_topics(ground, topic, watch, claimed)
        brokers = [f"broker-{each.node_id}" for each in ground.kafka.brokers]
        self._add(self._resources.violations(brokers))
        return Outcome(
            self._seed,
            self._length,
            self._judge.reports,
            topic.count,
            topic.twice,
            topic.missing,
            windows,
            found,
            self._judge.violations,
            Counter(self._judge.counts),
            self._resources.longest_lives(),
            acts.skipped,
            sum(each.ended - each.began for each in watch.pauses),
        )

    def _of_topics(
        self, ground: Ground, topic: records.TopicJudge, watch: Watch, claimed: dict[str, tuple[int, float]]
    ) -> None:
        files = {name: self._folder / f"{name}.jsonl.gz" for name in (TOPIC, DEAD_LETTERS, CHANGELOG)}
        for name, file in files.items():
            asyncio.run(topics.dump(ground.kafka.bootstrap, name, file))
        topic.read(topics.load(files[TOPIC]))
        topic.heard(claimed)
        self._add(topic.violations)
        self._add(records.dead_letters(topics.load(files[DEAD_LETTERS])))
        bodies = watch.last_bodies()
        (self._folder / "last-reports.json").write_text("[" + ",".join(body.decode() for body in bodies.values()) + "]")
        self._add(replay.differences(topics.load(files[TOPIC]), bodies))

    def _add(self, violations: Sequence[Violation]) -> None:
        for each in violations:
            self._judge.broken(*each)

    def _tell(self, violation: Violation) -> None:
        with (self._folder / "violations.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(violation._asdict() | {"unix": round(time.time(), 3)}) + "\n")

    def _schema_error(self, report: object) -> str | None:
        error = next(iter(self._validator.iter_errors(report)), None)
        return None if error is None else f"{error.instance_path}: {error.message}"[:300]


def _told(gap: Gap, begin: float) -> str:
    what = "report with fresh data" if gap.data else "report"
    causes = (
        ", ".join(f"{each.kind} of {each.victim}" for each in gap.causes) or f"no fault (more than {QUIET_SEC:g} s)"
    )
    return f"no {what} for {gap.lasted:.2f} s from {gap.began - begin:.1f} s on, {gap.allowed:.1f} s may be: {causes}"


if __name__ == "__main__":
    sys.exit(main())
