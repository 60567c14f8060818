"""The definition of flash-crash risk, slow and obvious: an oracle for the detector."""

import numpy as np

from app.microstructure.events import TradeTick
from app.microstructure.metrics.flash_crash import FlashCrashParams, MarketSample
from app.microstructure.report import Severity
from support.markets import SECOND

Observation = TradeTick | MarketSample
RANK = {"low": 0, "medium": 1, "high": 2}


class Reference:
    """The definition, over all samples and trades, gone through again for every value."""

    def __init__(self, params: FlashCrashParams) -> None:
        self.params = params
        self.samples: list[tuple[MarketSample, list[TradeTick]]] = []
        self.trades: list[TradeTick] = []
        self._flows: dict[tuple[int, int, int], int] = {}
        self._known: dict[int, tuple[float, float, float] | None] = {}

    def update(self, observation: Observation) -> None:
        if isinstance(observation, TradeTick):
            self.trades.append(observation)
        elif not self.samples or self.second(observation) > self.second(self.samples[-1][0]):
            self.samples.append((observation, list(self.trades)))

    def second(self, sample: MarketSample) -> int:
        return sample.ts_event // SECOND

    def flow(self, number: int, first: int, last: int) -> int:
        """Return the net flow, in 10⁻⁸, of the seconds `first` to `last` before sample `number`, 1 being the last."""
        key = number, first, last
        if key not in self._flows:
            sample, trades = self.samples[number]
            until = self.second(sample)
            inside = [each for each in trades if last <= until - int(each.ts_event) // SECOND <= first]
            units = [(round(each.payload.qty * 1e8), each.payload.aggressor_side) for each in inside]
            self._flows[key] = sum(qty if side == "buy" else -qty for qty, side in units)
        return self._flows[key]

    def past(self, number: int) -> list[int]:
        oldest = self.second(self.samples[number][0]) - self.params.baseline_sec
        return [before for before in range(number) if self.second(self.samples[before][0]) > oldest]

    def raw(self, number: int) -> tuple[float, float, float] | None:
        """Return spread, depth and selling against what was usual; later events do not change it."""
        if number not in self._known:
            self._known[number] = self.compared(number)
        return self._known[number]

    def compared(self, number: int) -> tuple[float, float, float] | None:
        past = self.past(number)
        if len(past) < self.params.min_samples:
            return None
        sample = self.samples[number][0]
        spread = sample.spread_bps / np.median([self.samples[each][0].spread_bps for each in past])
        depth = sample.bid_depth / np.median([self.samples[each][0].bid_depth for each in past])
        usual_flow = float(np.mean([abs(self.flow(each, 1, 1)) for each in past]))
        return spread, depth, -self.flow(number, 1, 1) / usual_flow if usual_flow else 0.0

    def shows(self, number: int) -> tuple[bool, bool, bool]:
        raw, params = self.raw(number), self.params
        if raw is None:
            return False, False, False
        wide = self.samples[number][0].spread_bps >= params.min_spread_bps
        return raw[0] >= params.spread_multiple and wide, raw[1] <= params.depth_share, raw[2] >= params.flow_multiple

    def stands(self, number: int) -> tuple[bool, bool, bool]:
        """Return which signs held in enough samples in a row."""
        row = range(number - self.params.confirm_samples + 1, number + 1)
        if row[0] < 0 or any(
            self.second(self.samples[each][0]) - self.second(self.samples[each - 1][0]) > self.params.max_gap_sec
            for each in row[1:]
        ):
            return False, False, False
        wide, thin, sold = (all(held) for held in zip(*[self.shows(each) for each in row], strict=True))
        seconds = self.params.confirm_samples
        recent, before = self.flow(number, seconds, 1), self.flow(number, 2 * seconds, seconds + 1)
        return wide, thin, sold and recent <= self.params.acceleration * before

    def risk(self, number: int) -> tuple[int, Severity] | None:
        """Return how many signs there are, and how grave that is."""
        if self.raw(number) is None:
            return None
        now = self.second(self.samples[number][0])
        strengths = []
        for sign in range(3):
            stood = [each for each in range(number + 1) if self.stands(each)[sign]]
            if stood and now - self.second(self.samples[stood[-1]][0]) <= self.params.linger_sec:
                raw = self.raw(stood[-1])
                assert raw is not None
                strengths.append(
                    raw[0] / self.params.spread_multiple
                    if sign == 0
                    else self.params.depth_share / raw[1]
                    if sign == 1
                    else raw[2] / self.params.flow_multiple
                )
        if len(strengths) < 2:
            return None
        strong = all(strength >= self.params.strong for strength in strengths)
        return len(strengths), "high" if len(strengths) == 3 else "medium" if strong else "low"

    def value(self, as_of: int) -> list[tuple[str, str]]:
        hold, found = self.params.hold_sec * SECOND, None
        for number, (sample, _) in enumerate(self.samples):
            risk = self.risk(number)
            if risk is None:
                continue
            count, severity = risk
            if found is not None and sample.ts_event < found[0] + hold and RANK[severity] < RANK[found[2]]:
                found = (sample.ts_event, found[1], found[2])
            else:
                found = (sample.ts_event, f"{count} of 3", severity)
        return [(found[2], found[1])] if found is not None and as_of < found[0] + hold else []
