// Price, net flow and anomalies over one time axis, drawn by Plotly.
//
// Plotly reads texts as a kind of markup, so it is given numbers and our own words only: what a report says in words
// (an anomaly's note) goes into the list beside the chart.

/* global Plotly */
import { $, colour } from "./format.js";
import { HOLDS_MS } from "./history.js";

const KINDS = { spoofing: "spoofing", iceberg: "iceberg", flash_crash_risk: "crash risk" };
const SIZES = { low: 7, medium: 10, high: 14 };
const SYMBOLS = { spoofing: "diamond", iceberg: "square", flash_crash_risk: "triangle-down" };
const OPTIONS = { displayModeBar: false, responsive: true, doubleClick: false, scrollZoom: false };

export function draw(history, digits) {
  const samples = withGaps(history.samples);
  const x = samples.map((each) => each.at);
  const price = (name) => samples.map((each) => each.report?.[name] ?? null);
  const flow = samples.map((each) => each.report?.flow.net_flow ?? null);
  const traces = [
    line(x, price("micro_price"), "micro price", { color: colour("micro"), width: 1 }),
    line(x, price("mid_price"), "mid price", { color: colour("mid"), width: 1.8 }),
    {
      x, y: flow, type: "bar", yaxis: "y2", name: "net flow", showlegend: false, width: 480,
      marker: { color: flow.map((each) => colour(each < 0 ? "ask" : "bid")), line: { width: 0 } },
      hovertemplate: "net flow %{y:.4~g}<extra></extra>",
    },
    ...anomalies(history.spells),
  ];
  Plotly.react($("charts"), traces, layout(history, digits), OPTIONS);
}

// A line must not cross a time of which nothing is known.
function withGaps(samples) {
  return samples.flatMap((each, index) => {
    const next = samples[index + 1];
    return next && next.at - each.at > HOLDS_MS ? [each, { at: each.at + HOLDS_MS, report: null }] : [each];
  });
}

function line(x, y, name, look) {
  return { x, y, name, type: "scatter", mode: "lines", line: { ...look, shape: "hv" }, hovertemplate: `${name} %{y}<extra></extra>` };
}

function anomalies(spells) {
  return Object.entries(KINDS).map(([type, label]) => {
    const chosen = spells.filter((each) => each.type === type);
    return {
      x: chosen.flatMap((each) => [each.from, each.to, null]),
      y: chosen.flatMap(() => [label, label, null]),
      type: "scatter", mode: "lines+markers", yaxis: "y3", name: label, showlegend: false,
      line: { color: colour("ink"), width: 2 },
      marker: {
        symbol: SYMBOLS[type], color: colour("bad"),
        size: chosen.flatMap((each) => [SIZES[each.severity] ?? 7, 0, 0]),
      },
      hovertemplate: `${label} %{x|%H:%M:%S}<extra></extra>`,
    };
  });
}

function layout(history, digits) {
  const axis = { gridcolor: colour("line"), zerolinecolor: colour("soft"), fixedrange: true, automargin: true };
  const profile = history.samples.at(-1)?.report.liquidity.volume_profile;
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { color: colour("ink"), size: 11 },
    margin: { l: 8, r: 8, t: 22, b: 20 }, autosize: true, dragmode: false, hovermode: "x",
    hoverlabel: { bgcolor: colour("panel"), font: { color: colour("ink") }, bordercolor: colour("line") },
    legend: { orientation: "h", x: 0, y: 1, yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    xaxis: { ...axis, type: "date", range: [history.now - history.span, history.now], anchor: "y3", tickformat: "%H:%M:%S", nticks: 5 },
    yaxis: { ...axis, domain: [0.46, 1], tickformat: `,.${digits}f`, nticks: 6, zeroline: false },
    yaxis2: { ...axis, domain: [0.22, 0.42], title: { text: "net flow" }, nticks: 4 },
    yaxis3: { ...axis, domain: [0, 0.18], type: "category", categoryarray: Object.values(KINDS), range: [-0.6, 2.6], showgrid: false },
    shapes: profile && inView(history, profile) ? shapes(profile) : [],
  };
}

// The value area would squeeze the price into a line where the market has left it.
function inView(history, { VAL, VAH }) {
  const mids = history.samples.map((each) => each.report.mid_price).filter((each) => each !== null);
  const [low, high] = [Math.min(...mids), Math.max(...mids)];
  return mids.length > 0 && VAL <= high && VAH >= low;
}

function shapes({ POC, VAH, VAL }) {
  const across = { xref: "paper", x0: 0, x1: 1, yref: "y", layer: "below", autorange: false };
  return [
    { ...across, type: "rect", y0: VAL, y1: VAH, fillcolor: colour("area"), opacity: 0.45, line: { width: 0 } },
    { ...across, type: "line", y0: POC, y1: POC, line: { color: colour("poc"), width: 1.5, dash: "dash" } },
  ];
}
