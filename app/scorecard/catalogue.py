"""Every kind of episode that is injected, and what it is to a detector.

A `pattern` must be found. A `look_alike` must not; it is listed under the detector that it tries to deceive,
but no detector may fire on it. A `probe` lies at or beyond the edge of the definition: what happens is
reported, and counts neither for nor against.
"""

from typing import Final, Literal

import msgspec

from app.scorecard.scripts import Writer, crash, iceberg, spoofing

Detector = Literal["spoofing", "iceberg", "flash_crash_risk"]
Role = Literal["pattern", "look_alike", "probe"]

DETECTORS: Final[tuple[Detector, ...]] = ("spoofing", "iceberg", "flash_crash_risk")


class Kind(msgspec.Struct, frozen=True):
    """One kind of episode: its name, the detector it is meant for, and the script that plays it."""

    name: str
    detector: Detector
    role: Role
    write: Writer
    what: str


KINDS: Final = (
    Kind("spoofing near", "spoofing", "pattern", spoofing.near, "large orders 2–6 bps from mid, taken back"),
    Kind("spoofing far", "spoofing", "pattern", spoofing.far, "large orders 10–40 bps from mid, taken back"),
    Kind("requotes", "spoofing", "look_alike", spoofing.requotes, "market maker renews large quotes at the touch"),
    Kind("ladder", "spoofing", "look_alike", spoofing.ladder, "market maker moves five steps a side with the mid"),
    Kind("large cancels", "spoofing", "look_alike", spoofing.large_cancels, "one or two large orders taken back"),
    Kind("genuine depth", "spoofing", "look_alike", spoofing.genuine_depth, "eight large orders, most of them stay"),
    Kind("large traded", "spoofing", "look_alike", spoofing.large_traded, "large orders that takers sweep"),
    Kind("iceberg exact", "iceberg", "pattern", iceberg.exact, "the same tip after each fill"),
    Kind("iceberg noisy", "iceberg", "pattern", iceberg.noisy, "a tip that differs by up to 4.5 %"),
    Kind("iceberg ragged", "iceberg", "probe", iceberg.ragged, "a tip that differs by up to 9 %"),
    Kind("resting order", "iceberg", "look_alike", iceberg.resting, "large resting order under small trades"),
    Kind("refilled level", "iceberg", "look_alike", iceberg.refilled, "level filled up again to other sizes"),
    Kind("crash", "flash_crash_risk", "pattern", crash.crash(spread=True, thin=True, flow=True), "all three signs"),
    Kind("wide and thin", "flash_crash_risk", "pattern", crash.crash(spread=True, thin=True, flow=False), "two signs"),
    Kind("thin and sold", "flash_crash_risk", "pattern", crash.crash(spread=False, thin=True, flow=True), "two signs"),
    Kind("wide and sold", "flash_crash_risk", "pattern", crash.crash(spread=True, thin=False, flow=True), "two signs"),
    Kind("fast and deep", "flash_crash_risk", "look_alike", crash.fast_and_deep, "ten times the trades, a deep book"),
    Kind("orderly fall", "flash_crash_risk", "look_alike", crash.orderly_fall, "15–40 bps down and back"),
    Kind("orderly rally", "flash_crash_risk", "look_alike", crash.orderly_rally, "15–40 bps up and back"),
    Kind("thin only", "flash_crash_risk", "look_alike", crash.thin_only, "most of the book withdrawn in quiet"),
    Kind("wide only", "flash_crash_risk", "look_alike", crash.wide_only, "wide spread, deep book"),
)


def kinds_for(detector: Detector) -> list[Kind]:
    """Return the kinds that concern a detector."""
    return [kind for kind in KINDS if kind.detector == detector]
