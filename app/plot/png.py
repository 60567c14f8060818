"""The picture of one symbol as a PNG: panels on top of each other over one time axis."""

from pathlib import Path
from typing import Any, Final

import matplotlib.dates as mdates
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, ScalarFormatter

from app.plot import style
from app.plot.series import Series, Stretch

SIZE_INCHES: Final = (15.0, 13.0)
DPI: Final = 120
OUTLINED: Final = 1500  # beyond, the outline of a filled area would cover it


def write(series: Series, path: Path) -> None:
    """Draw `series` and save it.

    Raises:
        OSError: the file cannot be written.
    """
    figure = Figure(figsize=SIZE_INCHES, layout="constrained", facecolor="white")
    heights = [panel.height for panel in style.PANELS]
    axes = figure.subplots(len(heights), sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.03})
    for panel, axis in zip(style.PANELS, axes, strict=True):
        _frame(axis, panel)
        for stretch in series.broken_books:
            axis.axvspan(stretch.start, stretch.end, color=style.BROKEN, alpha=0.5, linewidth=0, zorder=0)
    price, anomalies, spread, imbalance, rate, net_flow, health = axes
    _price(price, series)
    _anomalies(anomalies, series)
    _line(spread, series, "spread_bps", style.NEUTRAL)
    if style.is_wide(series.numbers["spread_bps"]):
        spread.set_yscale("log")
        spread.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    _signed(imbalance, series, "depth_imbalance")
    imbalance.set_ylim(-1.05, 1.05)
    _line(rate, series, "flow_orders_per_sec", style.NEUTRAL)
    _signed(net_flow, series, "flow_net_flow")
    _line(health, series, "health_score", style.GOOD)
    health.set_ylim(-4, 104)
    _time_axis(axes[-1], series)
    figure.suptitle(style.title(series), fontsize=14, x=0.012, ha="left", fontweight="bold")
    figure.align_ylabels(axes)
    figure.savefig(path, format="png", dpi=DPI)


def _frame(axis: Any, panel: style.Panel) -> None:
    axis.set_ylabel(f"{panel.label}\n{panel.unit}" if panel.unit else panel.label, fontsize=10)
    axis.grid(True, color=style.GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=10)


def _time_axis(axis: Any, series: Series) -> None:
    locator = mdates.AutoDateLocator(minticks=6, maxticks=14)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(mdates.ConciseDateFormatter(locator))
    axis.set_xlabel("time (UTC)", fontsize=10)
    if len(series.times) > 1:
        axis.set_xlim(series.times[0], series.times[-1])


def _price(axis: Any, series: Series) -> None:
    numbers, times = series.numbers, series.times
    val, vah = numbers["liquidity_volume_profile_VAL"], numbers["liquidity_volume_profile_VAH"]
    bid, ask = numbers["best_bid_price"], numbers["best_ask_price"]
    axis.fill_between(times, val, vah, step="post", color=style.VALUE_AREA, alpha=0.22, linewidth=0)
    for edge in (val, vah):
        axis.plot(times, edge, drawstyle="steps-post", color=style.POINT_OF_CONTROL, linewidth=0.7, alpha=0.7)
    poc = numbers["liquidity_volume_profile_POC"]
    axis.plot(times, poc, drawstyle="steps-post", color=style.POINT_OF_CONTROL, linewidth=1.4, linestyle=(0, (6, 3)))
    _vacuums(axis, series.vacuums or [])
    axis.plot(times, bid, color=style.BID, linewidth=1.8)
    axis.plot(times, ask, color=style.ASK, linewidth=1.8)
    axis.plot(times, numbers["micro_price"], color=style.MICRO, linewidth=1.2)
    axis.plot(times, numbers["mid_price"], color=style.MID, linewidth=0.8)
    _walls(axis, series.walls or [])
    for stretch in series.anomalies or []:
        if stretch.severity == "high":
            colour = style.ANOMALIES[stretch.kind].colour
            axis.axvline(stretch.start, color=colour, linewidth=0.9, linestyle=":", zorder=1)
    axis.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    _price_range(axis, [bid, ask, val, vah])
    axis.legend(
        handles=_price_legend(series), loc="lower left", bbox_to_anchor=(0, 1.0), ncols=10, frameon=False,
        fontsize=10, handlelength=1.6, columnspacing=1.3, borderaxespad=0.2,
    )  # fmt: skip
    axis.text(
        1,
        1.012,
        style.SEVERITY_NOTE,
        transform=axis.transAxes,
        ha="right",
        va="bottom",
        color=style.NEUTRAL,
        fontsize=9,
    )
    _say_if_unknown(axis, bid, ask)


def _price_range(axis: Any, shown: list[Any]) -> None:
    # Walls and vacuums lie near the price; one far off must not flatten everything else.
    known = np.concatenate(shown)
    known = known[~np.isnan(known)]
    if known.size:
        low, high = known.min(), known.max()
        margin = max((high - low) * 0.06, high * 1e-6)
        axis.set_ylim(low - margin, high + margin)


def _price_legend(series: Series) -> list[Any]:
    lines = [
        Line2D([], [], color=style.BID, label="bid"),
        Line2D([], [], color=style.ASK, label="ask"),
        Line2D([], [], color=style.MID, linewidth=0.8, label="mid"),
        Line2D([], [], color=style.MICRO, linewidth=1.2, label="micro"),
        Patch(color=style.VALUE_AREA, alpha=0.4, label="value area"),
        Line2D([], [], color=style.POINT_OF_CONTROL, linestyle=(0, (4, 2)), label="POC"),
    ]
    if series.walls:
        lines += [
            Line2D([], [], color=colour, linewidth=style.WIDTHS["high"], alpha=0.55, label=f"{side} wall")
            for side, colour in style.WALL_SIDES.items()
        ]
    if series.vacuums:
        lines.append(Patch(color=style.VACUUM, alpha=0.5, label="vacuum"))
    if series.broken_books:
        lines.append(Patch(color=style.BROKEN, alpha=0.5, label="book not known"))
    return lines


def _walls(axis: Any, walls: list[Stretch]) -> None:
    if walls:
        segments = [[(mdates.date2num(w.start), w.low), (mdates.date2num(w.end), w.low)] for w in walls]
        widths = [style.WIDTHS[wall.severity] for wall in walls]
        colours = [style.WALL_SIDES[wall.kind] for wall in walls]
        axis.add_collection(
            LineCollection(segments, linewidths=widths, colors=colours, alpha=0.6, zorder=3), autolim=False
        )


def _vacuums(axis: Any, vacuums: list[Stretch]) -> None:
    if vacuums:
        corners = []
        for each in vacuums:
            start, end = mdates.date2num(each.start), mdates.date2num(each.end)
            corners.append([(start, each.low), (end, each.low), (end, each.high), (start, each.high)])
        alphas = [style.SHADES[each.severity] for each in vacuums]
        axis.add_collection(PolyCollection(corners, facecolors=style.VACUUM, alpha=alphas, linewidths=0), autolim=False)


def _anomalies(axis: Any, series: Series) -> None:
    rows = style.ANOMALIES.values()
    axis.set_yticks([row.row for row in rows], [row.label for row in rows])
    axis.set_ylim(-0.7, len(style.ANOMALIES) - 0.3)
    if series.anomalies is None:
        _say(axis, style.NOT_KNOWN)
    elif not series.anomalies:
        _say(axis, style.NONE_SEEN)
    for each in series.anomalies or []:
        row = style.ANOMALIES[each.kind]
        size = style.MARK_SIZES[each.severity]
        axis.hlines(row.row, each.start, each.end, color=row.colour, linewidth=2, alpha=0.6)
        axis.plot([each.start], [row.row], row.matplotlib, color=row.colour, markersize=size, clip_on=False)


def _line(axis: Any, series: Series, name: str, colour: str) -> None:
    values = series.numbers[name]
    axis.plot(series.times, values, color=colour, linewidth=1.1)
    _say_if_unknown(axis, values)


def _signed(axis: Any, series: Series, name: str) -> None:
    values, times = series.numbers[name], series.times
    axis.axhline(0, color=style.NEUTRAL, linewidth=0.8)
    for side, colour in ((values >= 0, style.BID), (values <= 0, style.ASK)):
        axis.fill_between(times, 0, values, where=side, interpolate=True, color=colour, alpha=0.45, linewidth=0)
    if len(times) <= OUTLINED:
        axis.plot(times, values, color=style.MID, linewidth=0.7)
    _say_if_unknown(axis, values)


def _say_if_unknown(axis: Any, *values: Any) -> None:
    if all(np.isnan(each).all() for each in values):
        _say(axis, style.NOT_KNOWN)


def _say(axis: Any, words: str) -> None:
    axis.text(
        0.5, 0.5, words, transform=axis.transAxes, ha="center", va="center", color=style.NEUTRAL, fontsize=11,
        fontstyle="italic",
    )  # fmt: skip
