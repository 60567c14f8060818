"""What a picture of one symbol shows: numbers over time, and stretches of time in which something was seen.

A wall, a vacuum or an anomaly that is in several reports in a row is one stretch, from the first of them to
the report in which it is gone. Numbers are thinned to `MOST_POINTS` by taking every n-th report; stretches
are found before that, so none is lost.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow.compute as pc

from app.plot.reading import BOOK_OK, NUMBERS, PlotError
from app.plot.table import AS_OF

MOST_POINTS: Final = 10_000
_SEVERITIES: Final = ("low", "medium", "high")

Floats = np.ndarray[Any, np.dtype[np.float64]]
Times = np.ndarray[Any, np.dtype[np.datetime64]]


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was in all reports of a stretch of time.

    `kind` is a side or a type of anomaly, `low` and `high` are prices where it has any, `severity` is the
    worst of low, medium and high; `qty` and `note` are those of the worst.
    """

    start: np.datetime64
    end: np.datetime64
    kind: str
    severity: str
    low: float = np.nan
    high: float = np.nan
    qty: float = np.nan
    note: str = ""


class Series(msgspec.Struct, frozen=True):
    """One symbol over time. `numbers` are NaN where not known; a list is `None` where it never was known."""

    symbol: str
    every_nth: int
    times: Times
    numbers: Mapping[str, Floats]
    walls: list[Stretch] | None
    vacuums: list[Stretch] | None
    anomalies: list[Stretch] | None
    broken_books: list[Stretch]


def symbols(table: Any) -> list[str]:
    """Return the symbols of a table in order of their name."""
    return sorted(pc.unique(table["symbol"]).to_pylist())


def series(table: Any, symbol: str) -> Series:
    """Return what `table` knows of `symbol`.

    Raises:
        PlotError: it holds no reports of it.
    """
    rows = table.filter(pc.equal(table["symbol"], symbol))
    if not rows.num_rows:
        raise PlotError(f"no reports of {symbol}, only of {', '.join(symbols(table))}")
    times: Times = rows[AS_OF].to_numpy()
    nth = -(-len(times) // MOST_POINTS)
    broken: list[list[Any]] = [[] if ok else [{}] for ok in rows[BOOK_OK].to_pylist()]
    return Series(
        symbol,
        nth,
        times[::nth],
        {name: rows[name].cast("float64").to_numpy(zero_copy_only=False)[::nth] for name in NUMBERS},
        _seen(times, rows["liquidity_walls"].to_pylist(), _wall),
        _seen(times, rows["liquidity_vacuums"].to_pylist(), _vacuum),
        _seen(times, rows["anomalies"].to_pylist(), _anomaly),
        _stretches(times, broken, lambda _: {"kind": "book", "severity": "high"}),
    )


def _wall(item: Mapping[str, Any]) -> dict[str, Any]:
    price = item["price"]
    return {"kind": item["side"], "severity": item["severity"], "low": price, "high": price, "qty": item["qty"]}


def _vacuum(item: Mapping[str, Any]) -> dict[str, Any]:
    low, high = sorted((item["from"], item["to"]))
    return {"kind": "vacuum", "severity": item["severity"], "low": low, "high": high}


def _anomaly(item: Mapping[str, Any]) -> dict[str, Any]:
    return {"kind": item["type"], "severity": item["severity"], "note": item["note"]}


_Describe = Callable[[Mapping[str, Any]], dict[str, Any]]


def _seen(times: Times, lists: list[Any], describe: _Describe) -> list[Stretch] | None:
    if all(items is None for items in lists):
        return None
    return _stretches(times, (items or () for items in lists), describe)


def _stretches(times: Times, lists: Iterable[Iterable[Any]], describe: _Describe) -> list[Stretch]:
    # The last report holds as long as the one before it did.
    last = times[-1] - times[-2] if len(times) > 1 else np.timedelta64(1, "s")
    ends = np.append(times[1:], times[-1] + last)
    done: list[Stretch] = []
    running: dict[Any, Stretch] = {}
    for start, end, items in zip(times, ends, lists, strict=True):
        going_on: dict[Any, Stretch] = {}
        for item in items:
            now = Stretch(start=start, end=end, **describe(item))
            key = now.kind, str(now.low), str(now.high)  # as text, since NaN does not equal itself
            going_on[key] = _joined(going_on.get(key) or running.get(key), now)
        done += [stretch for key, stretch in running.items() if key not in going_on]
        running = going_on
    return sorted([*done, *running.values()], key=lambda stretch: stretch.start)


def _joined(before: Stretch | None, now: Stretch) -> Stretch:
    if before is None:
        return now
    worst = max(before, now, key=lambda stretch: _SEVERITIES.index(stretch.severity))
    return msgspec.structs.replace(worst, start=before.start, end=now.end)
