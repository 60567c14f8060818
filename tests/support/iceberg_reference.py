"""The definition of an iceberg, slow and obvious: an oracle for the detector."""

from dataclasses import dataclass, field

from app.microstructure.book import BookChange, LevelChange
from app.microstructure.events import TradeTick
from app.microstructure.metrics.iceberg import (
    BAND,
    MIN_FILLS,
    IcebergParams,
)
from app.microstructure.report import Anomaly
from support.book_feed import Observation
from support.icebergs import MS
from support.markets import SECOND


@dataclass
class Level:
    """The run of fills that goes on at a price."""

    visible: int
    since: int
    last_fill: int
    short_since: int | None = None
    fills: list[int] = field(default_factory=list)
    unconfirmed: list[tuple[int, int, int]] = field(default_factory=list)


class Reference:
    """The definition, price by price over the whole history, gone through again for every value."""

    def __init__(self, params: IcebergParams) -> None:
        self.params = params
        self.history: list[Observation] = []

    def update(self, observation: Observation) -> None:
        self.history.append(observation)

    def value(self, as_of: int) -> tuple[Anomaly, ...]:
        found = []
        for side in ("bid", "ask"):
            for price in sorted({each.payload.price for each in self.history if isinstance(each, TradeTick)}):
                newest = self.findings(side, price)[-1:]
                found += [anomaly for at, anomaly in newest if as_of < at + self.params.hold_sec * SECOND]
        return tuple(found)

    def findings(self, side: str, price: float) -> list[tuple[int, Anomaly]]:
        """Return when the price was an iceberg, and what was to be said of it."""
        found = list[tuple[int, Anomaly]]()
        shown, now = 0, 0
        run: Level | None = None
        for observation in self.history:
            if isinstance(observation, TradeTick):
                if observation.payload.price == price and (observation.payload.aggressor_side == "sell") == (
                    side == "bid"
                ):
                    run = self.traded(run, observation, shown, now)
                continue
            now = max(now, observation.ts_event)
            if observation.restarted or not observation.known:
                run, shown = None, 0
            if run is not None and run.short_since is not None:
                run = run if now - run.short_since <= self.params.dip_ms * MS else None
            for after in [level[2] for level in self.levels(observation, side) if level[0] == price]:
                shown = round(after * 1e8)
                run = self.seen(run, shown, now)
            if run is not None and run.short_since is None and self.confirm(run, now):
                found.append((now, self.anomaly(side, price, run)))
        return found

    def levels(self, change: BookChange, side: str) -> list[LevelChange]:
        return change.bids if side == "bid" else change.asks

    def traded(self, run: Level | None, tick: TradeTick, shown: int, now: int) -> Level | None:
        if run is not None and now - run.last_fill > self.params.idle_sec * SECOND:
            run = None
        if run is None and shown:
            run = Level(shown, now, last_fill=now)
        if run is not None and tick.ts_event >= run.since:
            run.last_fill = now
            begun = run.unconfirmed[-1][0] if run.unconfirmed and run.short_since is not None else now
            run.unconfirmed.append((begun, int(tick.ts_event), round(tick.payload.qty * 1e8)))
        return run

    def seen(self, run: Level | None, shown: int, now: int) -> Level | None:
        if run is None or shown - run.visible > BAND * run.visible:
            return None
        if run.visible - shown <= BAND * run.visible:
            run.short_since = None
        elif run.short_since is None:
            run.short_since = now
        return run

    def confirm(self, run: Level, now: int) -> bool:
        """Count what must be in the book by now; return whether that makes an iceberg, or one more fill of it."""
        added = 0
        for seen_at in sorted({seen_at for seen_at, _, _ in run.unconfirmed}):
            burst = [each for each in run.unconfirmed if each[0] == seen_at]
            if max(time for _, time, _ in burst) + self.params.confirm_ms * MS > now:
                continue
            run.unconfirmed = [each for each in run.unconfirmed if each[0] != seen_at]
            traded = sum(units for _, _, units in burst)
            if traded >= self.params.min_fill * run.visible:
                run.fills.append(traded)
                added += 1
        return bool(added) and len(run.fills) >= MIN_FILLS

    def anomaly(self, side: str, price: float, run: Level) -> Anomaly:
        params = self.params
        count, traded = len(run.fills), sum(run.fills)
        multiple = traded / run.visible
        if count >= params.high_fills and multiple >= params.high_multiple:
            severity = "high"
        else:
            severity = "medium" if count >= params.medium_fills and multiple >= params.medium_multiple else "low"
        texts = [f"{number:.8f}".rstrip("0").rstrip(".") for number in (price, traded / 1e8, run.visible / 1e8)]
        note = f"{side} {texts[0]}: {count} fills took {texts[1]} while {texts[2]} stayed visible ({multiple:.1f} x)"
        return Anomaly("iceberg", severity, note)  # type: ignore[arg-type]
