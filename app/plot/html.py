"""The picture of one symbol as a web page of its own: the same panels as the PNG, to zoom into and point at.

The page holds the data and the drawing library; it loads nothing from anywhere.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from plotly.subplots import make_subplots

from app.plot import style
from app.plot.series import Series, Stretch

HEIGHT_PX: Final = 1250


def write(series: Series, path: Path) -> None:
    """Draw `series` and save it.

    Raises:
        OSError: the file cannot be written.
    """
    heights = [panel.height for panel in style.PANELS]
    figure = make_subplots(rows=len(heights), shared_xaxes=True, vertical_spacing=0.018, row_heights=heights)
    _price(figure, series)
    _anomalies(figure, series, row=2)
    for row, name, label, colour in (
        (3, "spread_bps", "spread", style.NEUTRAL),
        (5, "flow_orders_per_sec", "trades/s", style.NEUTRAL),
        (7, "health_score", "health", style.GOOD),
    ):
        _line(figure, series, name, label, colour, row=row)
    _signed(figure, series, "depth_imbalance", "imbalance", row=4)
    _signed(figure, series, "flow_net_flow", "net flow", row=6)
    for stretch in series.broken_books:
        figure.add_vrect(
            x0=stretch.start, x1=stretch.end, fillcolor=style.BROKEN, opacity=0.5, line_width=0, layer="below"
        )
    _arrange(figure, series)
    page = figure.to_html(include_plotlyjs=True, full_html=True, config={"displaylogo": False, "responsive": True})
    path.write_text(page, encoding="utf-8")


def _arrange(figure: Any, series: Series) -> None:
    figure.update_layout(
        title={"text": style.title(series), "x": 0.01, "xanchor": "left"},
        template="plotly_white",
        height=HEIGHT_PX,
        hovermode="x unified",
        hoversubplots="axis",
        margin={"l": 95, "r": 25, "t": 95, "b": 45},
        legend={"orientation": "h", "x": 0, "y": 1.005, "xanchor": "left", "yanchor": "bottom"},
    )
    for row, panel in enumerate(style.PANELS, start=1):
        title = f"{panel.label}<br>{panel.unit}" if panel.unit else panel.label
        figure.update_yaxes(title_text=title, title_font_size=12, row=row)
    figure.update_yaxes(tickformat=",.8~f", row=1)
    anomalies = style.ANOMALIES.values()
    figure.update_yaxes(
        tickvals=[each.row for each in anomalies],
        ticktext=[each.label for each in anomalies],
        range=[-0.7, len(style.ANOMALIES) - 0.3],
        title_text="",
        row=2,
    )
    figure.update_yaxes(range=[-1.05, 1.05], row=4)
    figure.update_yaxes(range=[-4, 104], row=7)
    if style.is_wide(series.numbers["spread_bps"]):
        figure.update_yaxes(type="log", dtick=1, row=3)
    if len(series.times) > 1:
        figure.update_xaxes(range=[str(series.times[0]), str(series.times[-1])])
    figure.update_xaxes(showticklabels=True, title_text="time (UTC)", row=len(style.PANELS))


def _price(figure: Any, series: Series) -> None:
    numbers, times = series.numbers, series.times
    edge = {"color": style.POINT_OF_CONTROL, "width": 0.7, "shape": "hv"}
    figure.add_scatter(
        x=times, y=numbers["liquidity_volume_profile_VAH"], name="VAH", line=edge, showlegend=False, row=1, col=1
    )
    figure.add_scatter(
        x=times, y=numbers["liquidity_volume_profile_VAL"], name="value area", line=edge, fill="tonexty",
        fillcolor="rgba(240,228,66,0.22)", row=1, col=1,
    )  # fmt: skip
    dashed = {"color": style.POINT_OF_CONTROL, "width": 1.6, "dash": "dash", "shape": "hv"}
    figure.add_scatter(x=times, y=numbers["liquidity_volume_profile_POC"], name="POC", line=dashed, row=1, col=1)
    _vacuums(figure, series.vacuums or [])
    _walls(figure, series.walls or [])
    for name, label, line in (
        ("best_bid_price", "bid", {"color": style.BID, "width": 1.4}),
        ("best_ask_price", "ask", {"color": style.ASK, "width": 1.4}),
        ("micro_price", "micro", {"color": style.MICRO, "width": 1.2}),
        ("mid_price", "mid", {"color": style.MID, "width": 1}),
    ):
        figure.add_scatter(x=times, y=numbers[name], name=label, line=line, mode="lines", row=1, col=1)
    _say_if_unknown(figure, 1, numbers["best_bid_price"], numbers["best_ask_price"])


def _walls(figure: Any, walls: list[Stretch]) -> None:
    for side, colour in style.WALL_SIDES.items():
        legend = True
        for severity, width in style.WIDTHS.items():
            chosen = [wall for wall in walls if (wall.kind, wall.severity) == (side, severity)]
            if chosen:
                x, y, texts = _segments(chosen, lambda wall: wall.low, lambda wall: f"{wall.qty:g}, {wall.severity}")
                figure.add_scatter(
                    x=x, y=y, text=texts, name=f"{side} wall", legendgroup=f"{side} wall", showlegend=legend,
                    mode="lines", line={"color": colour, "width": width}, opacity=0.55,
                    hovertemplate="%{y} × %{text}", row=1, col=1,
                )  # fmt: skip
                legend = False


def _vacuums(figure: Any, vacuums: list[Stretch]) -> None:
    if not vacuums:
        return
    x: list[str | None] = []
    y: list[float | None] = []
    for each in vacuums:
        start, end = str(each.start), str(each.end)
        x += [start, end, end, start, start, None]
        y += [each.low, each.low, each.high, each.high, each.low, None]
    figure.add_scatter(
        x=x, y=y, name="vacuum", fill="toself", mode="none", fillcolor="rgba(86,180,233,0.4)", hoverinfo="skip",
        row=1, col=1,
    )  # fmt: skip


def _anomalies(figure: Any, series: Series, row: int) -> None:
    if not series.anomalies:
        _say(figure, row, style.NOT_KNOWN if series.anomalies is None else style.NONE_SEEN)
        # A panel without any trace would not be drawn at all.
        figure.add_scatter(x=series.times[:1], y=[np.nan], showlegend=False, hoverinfo="skip", row=row, col=1)
        return
    for kind, look in style.ANOMALIES.items():
        chosen = [each for each in series.anomalies if each.kind == kind]
        if chosen:
            _anomaly_row(figure, chosen, look, row)


def _anomaly_row(figure: Any, chosen: list[Stretch], look: style.AnomalyStyle, row: int) -> None:
    sizes = [1.3 * style.MARK_SIZES[each.severity] for each in chosen]  # in px here, in points in the PNG
    x, y, _ = _segments(chosen, lambda _: look.row, lambda _: "")
    figure.add_scatter(
        x=x, y=y, mode="lines", line={"color": look.colour, "width": 3}, opacity=0.6, showlegend=False,
        hoverinfo="skip", row=row, col=1,
    )  # fmt: skip
    figure.add_scatter(
        x=[each.start for each in chosen],
        y=[look.row] * len(chosen),
        name=look.label,
        mode="markers",
        marker={"color": look.colour, "symbol": look.plotly, "size": sizes},
        text=[f"{each.severity}: {each.note}" for each in chosen],
        hovertemplate="%{text}",
        showlegend=False,
        row=row,
        col=1,
    )


def _segments(
    stretches: Iterable[Stretch], height: Callable[[Stretch], float], text: Callable[[Stretch], str]
) -> tuple[list[str | None], list[float | None], list[str | None]]:
    x: list[str | None] = []
    y: list[float | None] = []
    texts: list[str | None] = []
    for each in stretches:
        x += [str(each.start), str(each.end), None]
        y += [height(each), height(each), None]
        texts += [text(each), text(each), None]
    return x, y, texts


def _line(figure: Any, series: Series, name: str, label: str, colour: str, *, row: int) -> None:
    values = series.numbers[name]
    figure.add_scatter(
        x=series.times, y=values, name=label, mode="lines", line={"color": colour, "width": 1.2}, showlegend=False,
        row=row, col=1,
    )  # fmt: skip
    _say_if_unknown(figure, row, values)


def _signed(figure: Any, series: Series, name: str, label: str, *, row: int) -> None:
    values = series.numbers[name]
    filled = np.nan_to_num(values)  # Plotly would fill straight across what is not known
    for side, fill in ((np.maximum(filled, 0), "rgba(0,114,178,0.45)"), (np.minimum(filled, 0), "rgba(213,94,0,0.45)")):
        figure.add_scatter(
            x=series.times, y=side, mode="none", fill="tozeroy", fillcolor=fill, showlegend=False, hoverinfo="skip",
            row=row, col=1,
        )  # fmt: skip
    figure.add_scatter(
        x=series.times, y=values, name=label, mode="lines", line={"color": style.NEUTRAL, "width": 0.8},
        showlegend=False, row=row, col=1,
    )  # fmt: skip
    _say_if_unknown(figure, row, values)


def _say_if_unknown(figure: Any, row: int, *values: Any) -> None:
    if all(np.isnan(each).all() for each in values):
        _say(figure, row, style.NOT_KNOWN)


def _say(figure: Any, row: int, words: str) -> None:
    figure.add_annotation(
        text=f"<i>{words}</i>", x=0.5, y=0.5, xref="x domain", yref="y domain", showarrow=False,
        font={"color": style.NEUTRAL}, row=row, col=1,
    )  # fmt: skip
