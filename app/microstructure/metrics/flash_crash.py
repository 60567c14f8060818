"""Flash-crash risk: at least 2 of 3 signs that the bid side is about to give way. 3 of 3 is high.

| sign            | raw, against what is usual                                                                 |
|-----------------|--------------------------------------------------------------------------------------------|
| spread widening | spread ≥ `spread_multiple` x usual, and ≥ `min_spread_bps`                                 |
| thin book       | bid depth (top 20) ≤ `depth_share` x usual                                                 |
| selling         | net flow of the second is negative, ≥ `flow_multiple` x usual; and that of the last        |
|                 | `confirm_samples` seconds ≥ `acceleration` x that of as many before: it accelerates        |

A sign stands when it held in `confirm_samples` samples in a row, and for `linger_sec` more: the three come one after
the other. Usual is the median over the samples of the last `baseline_sec`, for the flow the mean size of a second's
net flow, which comes in bursts. Below `min_samples` nothing is usual, and there is no finding.

A fast market alone shows one sign: while the book stays deep and tight, selling finds its buyers.

Samples come once for each whole second of event time that the stream crosses, so the value does not depend on how
often anybody looks. Flow counts the whole seconds before the sample.
"""

from bisect import bisect_left, insort
from collections import deque
from typing import Final

import msgspec

from app.microstructure.events import TradeTick
from app.microstructure.report import Anomaly, Severity
from app.microstructure.rfc3339 import NANOS_PER_SECOND

_UNITS: Final = 100_000_000
_RANK: Final[dict[Severity, int]] = {"low": 0, "medium": 1, "high": 2}


class MarketSample(msgspec.Struct, frozen=True, gc=False):
    """The book when the stream crossed a whole second; none is made while a side is empty or not known.

    `ts_event` is the event time of what crossed it. Depths are the quantities of the top 20, in base units.
    """

    ts_event: int
    spread_bps: float
    bid_depth: float
    ask_depth: float
    mid: float


class FlashCrashParams(msgspec.Struct, frozen=True):
    """What counts as a sign; docs/metrics.md gives the reasons."""

    spread_multiple: float = 4.0
    min_spread_bps: float = 1.0
    depth_share: float = 0.4
    flow_multiple: float = 3.0
    acceleration: float = 1.25
    confirm_samples: int = 3
    linger_sec: int = 5
    max_gap_sec: int = 5
    baseline_sec: int = 300
    min_samples: int = 60
    strong: float = 2.0
    hold_sec: int = 10


class Past(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One sample: its second, spread, bid depth, mid, and net flow (10⁻⁸ units) of the second before it."""

    second: int
    spread_bps: float
    bid_depth: float
    mid: float
    net_flow: int


class Sign(msgspec.Struct, array_like=True):
    """One sign: samples in a row that showed it, the second in which it last stood, how far beyond its threshold."""

    row: int = 0
    stood: int = -1
    strength: float = 0.0
    text: str = ""


class Finding(msgspec.Struct, frozen=True, array_like=True):
    """A risk: the newest evidence at `at`, the gravest since it began."""

    at: int
    severity: Severity
    note: str


class FlashCrashState(msgspec.Struct, frozen=True, array_like=True):
    """Everything the detector knows; `flow` is signed quantity by second."""

    flow: list[tuple[int, int]]
    past: list[Past]
    signs: tuple[Sign, Sign, Sign]
    finding: Finding | None


class FlashCrash:
    """Flash-crash risk of one symbol, found from its trades and one sample of the book a second."""

    def __init__(self, params: FlashCrashParams | None = None) -> None:
        self._params = params or FlashCrashParams()
        self._flow: dict[int, int] = {}
        self._past: deque[Past] = deque()
        # The same samples in order of size, and their |net flow| in all: what is usual is then read, not computed.
        self._spreads: list[float] = []
        self._depths: list[float] = []
        self._turnover = 0
        self._wide, self._thin, self._selling = Sign(), Sign(), Sign()
        self._finding: Finding | None = None
        self._held: int | None = None

    def update(self, observation: TradeTick | MarketSample) -> None:
        """Take a trade, or the sample of a second, into account."""
        if type(observation) is TradeTick:
            payload = observation.payload
            units = round(payload.qty * _UNITS) if payload.aggressor_side == "buy" else -round(payload.qty * _UNITS)
            second = observation.ts_event // NANOS_PER_SECOND
            if second in self._flow:
                self._flow[second] += units
            else:
                self._open(second, units)
        elif type(observation) is MarketSample:
            self._sample(observation)

    def value(self, as_of: int) -> tuple[Anomaly, ...]:
        """Return the risk, for `hold_sec` after its newest evidence."""
        found = self._finding
        if found is None or as_of >= found.at + self._params.hold_sec * NANOS_PER_SECOND:
            return ()
        return (Anomaly("flash_crash_risk", found.severity, found.note),)

    def hold(self, at: int | None) -> None:
        """Keep the samples that are usual at `at`, whatever comes; `None`: no longer."""
        self._held = None if at is None else at // NANOS_PER_SECOND

    def rewind(self, to: int) -> None:
        """Forget samples later than `to`, and let all else that was stamped later have happened then."""
        second, flow = to // NANOS_PER_SECOND, self._flow
        for late in [each for each in flow if each > second]:
            flow[second] = flow.get(second, 0) + flow.pop(late)
        while self._past and self._past[-1].second > second:
            self._forget(self._past.pop())
        for sign in (self._wide, self._thin, self._selling):
            sign.stood = min(sign.stood, second)
        if self._finding is not None and self._finding.at > to:
            self._finding = msgspec.structs.replace(self._finding, at=to)

    def snapshot(self) -> FlashCrashState:
        """Return the whole state."""
        copy = msgspec.structs.replace
        signs = copy(self._wide), copy(self._thin), copy(self._selling)
        return FlashCrashState(list(self._flow.items()), list(self._past), signs, self._finding)

    @classmethod
    def restore(cls, state: FlashCrashState, params: FlashCrashParams | None = None) -> "FlashCrash":
        """Return a detector that goes on exactly where `state` was taken."""
        detector, copy = cls(params), msgspec.structs.replace
        detector._flow = dict(state.flow)
        for past in state.past:
            detector._remember(past)
        detector._wide, detector._thin, detector._selling = (copy(sign) for sign in state.signs)
        detector._finding = state.finding
        return detector

    def _open(self, second: int, units: int) -> None:
        self._flow[second] = units
        if len(self._flow) > 4 * self._params.confirm_samples:  # samples look back half as far; some trades come late
            del self._flow[min(self._flow)]

    def _sample(self, sample: MarketSample) -> None:
        params, past = self._params, self._past
        second = sample.ts_event // NANOS_PER_SECOND
        if past and second <= past[-1].second:
            return
        if past and second - past[-1].second > params.max_gap_sec:
            self._wide.row = self._thin.row = self._selling.row = 0
        oldest = (second if self._held is None else min(second, self._held)) - params.baseline_sec
        while past and past[0].second <= oldest:
            self._forget(past.popleft())
        now = Past(second, sample.spread_bps, sample.bid_depth, sample.mid, self._flow.get(second - 1, 0))
        if len(past) >= params.min_samples:
            self._compare(now, sample.ask_depth)
            signs = [
                sign for sign in (self._wide, self._thin, self._selling) if second - sign.stood <= params.linger_sec
            ]
            if len(signs) >= 2:
                self._find(sample.ts_event, now, signs)
        self._remember(now)

    def _remember(self, sample: Past) -> None:
        self._past.append(sample)
        insort(self._spreads, sample.spread_bps)
        insort(self._depths, sample.bid_depth)
        self._turnover += abs(sample.net_flow)

    def _forget(self, sample: Past) -> None:
        del self._spreads[bisect_left(self._spreads, sample.spread_bps)]
        del self._depths[bisect_left(self._depths, sample.bid_depth)]
        self._turnover -= abs(sample.net_flow)

    def _compare(self, now: Past, ask_depth: float) -> None:
        """Compare a sample with what was usual before it."""
        params = self._params
        spread = now.spread_bps / _median(self._spreads)
        wide = spread >= params.spread_multiple and now.spread_bps >= params.min_spread_bps
        self._see(self._wide, now, wide, spread / params.spread_multiple, f"spread {spread:.1f} x usual")

        depth = now.bid_depth / _median(self._depths)
        text = f"bid depth {depth * 100:.0f} % of usual (asks hold {ask_depth / now.bid_depth:.1f} x as much)"
        self._see(self._thin, now, depth <= params.depth_share, params.depth_share / depth, text)

        usual = self._turnover / len(self._past)
        sold = -now.net_flow / usual if usual else 0.0
        selling = sold >= params.flow_multiple
        self._see(self._selling, now, selling, sold / params.flow_multiple, f"net selling {sold:.0f} x usual")

    def _see(self, sign: Sign, now: Past, holds: bool, strength: float, text: str) -> None:
        sign.row = sign.row + 1 if holds else 0
        if sign.row >= self._params.confirm_samples and (sign is not self._selling or self._accelerates(now.second)):
            sign.stood, sign.strength, sign.text = now.second, strength, text

    def _accelerates(self, second: int) -> bool:
        seconds = self._params.confirm_samples
        recent = sum(self._flow.get(each, 0) for each in range(second - seconds, second))
        before = sum(self._flow.get(each, 0) for each in range(second - 2 * seconds, second - seconds))
        return recent <= self._params.acceleration * before

    def _find(self, at: int, now: Past, signs: list[Sign]) -> None:
        severity = self._severity(signs)
        before, hold = self._finding, self._params.hold_sec * NANOS_PER_SECOND
        if before is not None and at < before.at + hold and _RANK[severity] < _RANK[before.severity]:
            self._finding = Finding(at, before.severity, before.note)
            return
        start = next((each for each in reversed(self._past) if each.second <= now.second - 5), now)
        moved = (now.mid / start.mid - 1) * 1e4
        note = f"{len(signs)} of 3 signs: {', '.join(sign.text for sign in signs)}; mid {moved:+.1f} bps in 5 s"
        self._finding = Finding(at, severity, note)

    def _severity(self, signs: list[Sign]) -> Severity:
        if len(signs) == 3:
            return "high"
        return "medium" if all(sign.strength >= self._params.strong for sign in signs) else "low"


def _median(numbers: list[float]) -> float:
    """Return the median of numbers in order."""
    middle = len(numbers) // 2
    return numbers[middle] if len(numbers) % 2 else (numbers[middle - 1] + numbers[middle]) / 2
