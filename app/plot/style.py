"""Colours, sizes and words that both kinds of picture share.

Colours are those of Okabe and Ito (jfly.uni-koeln.de/color), which people with any colour vision can tell
apart; what they say is also said by position or shape.
"""

from typing import Any, Final

import msgspec
import numpy as np

from app.plot.series import Series

BID: Final = "#0072B2"
ASK: Final = "#D55E00"
MID: Final = "#222222"
MICRO: Final = "#CC79A7"
VALUE_AREA: Final = "#F0E442"
POINT_OF_CONTROL: Final = "#8A7A00"
VACUUM: Final = "#56B4E9"
NEUTRAL: Final = "#5F5F5F"
GOOD: Final = "#009E73"
BROKEN: Final = "#BBBBBB"
GRID: Final = "#E6E6E6"

WALL_SIDES: Final = {"bid": BID, "ask": ASK}
WIDTHS: Final = {"low": 2.5, "medium": 5.0, "high": 9.0}
SHADES: Final = {"low": 0.25, "medium": 0.4, "high": 0.6}
MARK_SIZES: Final = {"low": 5.0, "medium": 8.0, "high": 12.0}


class AnomalyStyle(msgspec.Struct, frozen=True):
    """How a type of anomaly is drawn: its row in the strip, its colour, its mark for each library."""

    row: int
    label: str
    colour: str
    matplotlib: str
    plotly: str


ANOMALIES: Final = {
    "flash_crash_risk": AnomalyStyle(2, "flash crash risk", ASK, "v", "triangle-down"),
    "spoofing": AnomalyStyle(1, "spoofing", BID, "D", "diamond"),
    "iceberg": AnomalyStyle(0, "iceberg", GOOD, "s", "square"),
}

NOT_KNOWN: Final = "not known in these reports"
SEVERITY_NOTE: Final = "the thicker or larger, the more severe"
NONE_SEEN: Final = "none in these reports"


WIDE_RATIO: Final = 20.0


class Panel(msgspec.Struct, frozen=True):
    """One of the pictures on top of each other; `height` is relative to the others."""

    label: str
    unit: str
    height: float


PANELS: Final = (
    Panel("price", "", 5.0),
    Panel("", "", 1.1),  # anomalies, named by their rows
    Panel("spread", "bps", 1.0),
    Panel("imbalance", "−1 to 1", 1.0),
    Panel("trades", "per second", 1.0),
    Panel("net flow", "base units", 1.0),
    Panel("health", "0 to 100", 1.0),
)


def is_wide(values: Any) -> bool:
    """Return whether values, all positive, reach over so many sizes that only a logarithmic axis shows them."""
    known = values[~np.isnan(values)]
    return bool(known.size and known.min() > 0 and known.max() / known.min() > WIDE_RATIO)


def title(series: Series) -> str:
    """Return the headline: symbol, day and times, and whether every report is drawn."""
    first, last = (str(time.astype("datetime64[s]")).replace("T", " ") for time in (series.times[0], series.times[-1]))
    if last[:10] == first[:10]:
        last = last[11:]
    thinned = f"; lines show every {series.every_nth}th report" if series.every_nth > 1 else ""
    return f"{series.symbol}   {first} to {last} UTC{thinned}"
