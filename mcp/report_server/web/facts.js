// Everything about one market that is told in words and numbers, and the warnings about its age.

import { $, age, clock, make, number, quantity, setFacts, setText } from "./format.js";

export function showQuotes(report, digits, sinceMs) {
  setText($("name"), report.symbol);
  setText($("mid"), number(report.mid_price, digits + 1));
  const level = (each) => (each ? `${number(each.price, digits)} × ${quantity(each.qty)}` : "–");
  const change = report.change_24h_pct;
  setFacts($("quotes"), [
    ["bid", level(report.best_bid)],
    ["ask", level(report.best_ask)],
    ["spread", `${number(report.spread_bps, 3)} bps`],
    ["micro", number(report.micro_price, digits + 1)],
    ["trades", `${number(report.flow.orders_per_sec, 1)}/s`],
    ["24 h", change === null ? "–" : `${change > 0 ? "+" : ""}${number(change, 2)} %`],
    ["age", age(report.data_age_ms + sinceMs)],
  ], true);
}

// Returns what is wrong with the numbers on the page, in one line, and how much; null if they are live.
export function trouble({ report, sinceMs, link, away, absent, symbol }) {
  if (link.state === "token") return { late: true, text: "This reader wants a token." };
  const seen = report ? `; the numbers below are ${age(report.data_age_ms + sinceMs)} old` : "";
  if (link.state === "lost") return { text: `Connection lost, trying again (${link.why})${seen}` };
  if (away) return { text: `The reader cannot read its store${seen}` };
  if (absent) return { text: `There is no report of ${symbol}${seen}` };
  if (!report) return null;
  const { stale, status } = report.ingestion;
  if (stale) return { text: `STALE: nobody keeps this report up to date${seen}` };
  if (status === "down") return { text: `No market data is coming in${seen}` };
  if (status === "degraded") return { late: true, text: `Market data is late${seen}` };
  return report.provenance.book_ok ? null : { late: true, text: "The book is being rebuilt; depth is not known" };
}

export function showAlarm(found) {
  const alarm = $("alarm");
  alarm.hidden = !found;
  alarm.className = found?.late ? "late" : "";
  // A screen reader says an alert again whenever it changes, so the running age is left out of what it is compared by.
  const kind = found?.text.replace(/[\d.]+ (ms|s|min|h) old/, "");
  if (alarm.dataset.kind === kind && kind !== undefined) alarm.firstChild.nodeValue = found.text;
  else alarm.replaceChildren(...(found ? [found.text] : []));
  alarm.dataset.kind = kind ?? "";
  document.body.classList.toggle("old", Boolean(found) && !found.late);
}

export function showProfile(report, digits) {
  const profile = report.liquidity.volume_profile;
  const pairs = profile
    ? ["POC", "VAH", "VAL"].map((name) => [name, number(profile[name], digits)]).concat([
        ["window", `${number(profile.window_sec, 0)} s, ${number(100 * report.ingestion.confidence.volume_profile, 0)} % seen`],
        ["trades", number(profile.trade_count, 0)],
      ])
    : [["profile", "not known yet"]];
  setFacts($("profile-facts"), pairs);
  $("ruler").replaceChildren(...(profile ? [ruler(profile, report.mid_price)] : []));
}

// Where the price is against the value area, on one line.
function ruler({ POC, VAH, VAL }, mid) {
  const marks = [VAL, VAH, POC, ...(mid === null ? [] : [mid])];
  const [low, high] = [Math.min(...marks), Math.max(...marks)];
  const at = (price) => 4 + (92 * (price - low)) / (high - low || 1);
  const drawing = svg("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" });
  drawing.append(
    svg("rect", { x: 0, y: 6.5, width: 100, height: 1, fill: "var(--line)" }),
    svg("rect", { x: at(VAL), y: 4, width: Math.max(0.5, at(VAH) - at(VAL)), height: 6, fill: "var(--area)" }),
    svg("rect", { x: at(POC) - 0.4, y: 1, width: 0.8, height: 12, fill: "var(--poc)" }),
  );
  if (mid !== null) drawing.append(svg("rect", { x: at(mid) - 0.3, y: 2, width: 0.6, height: 10, fill: "var(--mid)" }));
  return drawing;
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

export function showAnomalies(report, spells) {
  const lines = spells.toReversed().slice(0, 50).map((each) => `${clock(each.from)} ${each.type.replaceAll("_", " ")}, ${each.severity}: ${each.note}`);
  if (report.anomalies === null) lines.unshift("not known yet");
  else if (!lines.length) lines.push("none in the last three minutes");
  const list = $("anomaly-list");
  while (list.children.length > lines.length) list.lastChild.remove();
  while (list.children.length < lines.length) list.append(make("li"));
  lines.forEach((line, index) => setText(list.children[index], line));
}

export function showHealth({ score, components }) {
  setText($("score"), number(score, 0));
  const place = $("components");
  const names = Object.keys(components);
  if (place.dataset.names !== names.join()) {
    place.dataset.names = names.join();
    const meter = (name) => make("meter", { min: 0, max: 100, low: 40, high: 75, optimum: 100, "aria-label": name });
    place.replaceChildren(...names.flatMap((name) => [make("span", {}, name), meter(name), make("span")]));
  }
  names.forEach((name, index) => {
    place.children[index * 3 + 1].value = components[name];
    setText(place.children[index * 3 + 2], number(components[name], 0));
  });
}

// A narrow column breaks at the blank.
const moment = (text) => text.replace("T", " ");

export function showProvenance(report) {
  const { provenance: from, writer, ingestion } = report;
  setFacts($("provenance-facts"), [
    ["event", moment(from.ts_event)],
    ["as of", moment(from.as_of)],
    ["liquidity as of", `${moment(from.slow.as_of)} (offset ${from.slow.offset})`],
    ["partition, offset", `${from.partition}, ${from.offset}`],
    ["book update", from.book_update_id ?? "–"],
    ["book", `${from.book_ok ? "in sequence" : "broken"}, ${from.gap_count} gap${from.gap_count === 1 ? "" : "s"}`],
    ["writer", `${writer.nodeId} #${writer.writerToken}`],
    ["watched", age(ingestion.watched_sec * 1000)],
  ]);
}
