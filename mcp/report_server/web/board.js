// The board: puts the parts together and keeps the page from working harder than anybody can see.

import * as charts from "./charts.js";
import * as facts from "./facts.js";
import { Stream, TokenWanted, pollList, token } from "./feed.js";
import { $, decimals, setText } from "./format.js";
import { HeatMap } from "./heatmap.js";
import { History } from "./history.js";
import { Ladder } from "./ladder.js";
import { Symbols } from "./symbols.js";

const MAP_EVERY_MS = 500;
const CHARTS_EVERY_MS = 1000;
const SYMBOL = /^[A-Z0-9]{2,20}$/;
const NO_TROUBLE = { away: false, absent: false };

const heatmap = new HeatMap();
const ladder = new Ladder();
const symbols = new Symbols(choose);
let market = null; // what is shown: symbol, stream, history, the newest report and when it came
const drawn = { map: 0, charts: 0 };

function choose(symbol) {
  market?.stream.close();
  const chosen = { symbol, history: new History(), report: null, came: 0, link: { state: "connecting", why: "" }, ...NO_TROUBLE };
  market = chosen;
  chosen.stream = new Stream(symbol, (name, content) => take(chosen, name, content), (state, why) => link(chosen, state, why));
  setText($("name"), symbol);
  setText($("mid"), "…");
  document.title = `${symbol} · context8`;
  history.replaceState(null, "", `#${symbol}`);
  Object.assign(drawn, { map: 0, charts: 0 });
  show();
}

function take(chosen, name, content) {
  if (chosen !== market) return;
  if (name === "report") {
    Object.assign(chosen, NO_TROUBLE, { report: content, came: performance.now() });
    chosen.history.add(content);
  } else {
    Object.assign(chosen, NO_TROUBLE, name === "absent" ? { absent: true } : { away: true });
  }
  chosen.dirty = true;
}

function link(chosen, state, why) {
  if (chosen !== market) return;
  chosen.link = { state, why };
  if (state === "token") askForToken();
}

function show() {
  if (!market) return;
  const { report, link: { state } } = market;
  const sinceMs = report ? performance.now() - market.came : 0;
  const words = { connecting: "connecting …", live: "live", lost: "connection lost", token: "token wanted" };
  $("link").dataset.state = state;
  setText($("link"), words[state]);
  facts.showAlarm(facts.trouble({ ...market, sinceMs }));
  if (!report) return;
  const digits = decimals(report);
  facts.showQuotes(report, digits, sinceMs);
  if (market.dirty) {
    market.dirty = false;
    ladder.show(report, digits);
    facts.showProfile(report, digits);
    facts.showAnomalies(report, market.history.spells);
    facts.showHealth(report.health);
    facts.showProvenance(report);
  }
  drawCharts(digits);
}

function drawCharts(digits) {
  const now = performance.now();
  if (!market.history.samples.length) return;
  if (now - drawn.map >= MAP_EVERY_MS) {
    drawn.map = now;
    heatmap.draw(market.history, digits);
  }
  if (now - drawn.charts >= CHARTS_EVERY_MS) {
    drawn.charts = now;
    charts.draw(market.history, digits);
  }
}

function askForToken() {
  if (!$("ask").open) $("ask").showModal();
}

function start() {
  $("ask").addEventListener("close", () => {
    token.set($("token").value.trim());
    $("token").value = "";
    if (market) choose(market.symbol);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    heatmap.recolour();
    symbols.sparklines();
    Object.assign(drawn, { map: 0, charts: 0 });
  });
  window.addEventListener("hashchange", fromAddress);
  window.addEventListener("resize", () => Object.assign(drawn, { map: 0 }));
  fromAddress();
  pollList(listed, (error) => {
    if (error instanceof TokenWanted) return askForToken();
    $("symbols").classList.add("old");
    setText($("list-note"), `the list is not up to date: ${error.message}`);
    if (!market) setText($("link"), "no connection");
  });
  setInterval(() => document.hidden || show(), 250);
}

function fromAddress() {
  const named = location.hash.slice(1);
  if (SYMBOL.test(named)) symbols.choose(named);
}

function listed(list) {
  $("symbols").classList.remove("old");
  symbols.show(list);
  if (!list.length) setText($("list-note"), "no market has a report yet");
  if (!market && list.length) symbols.choose(list[0].symbol);
  if (!list.length && !market) setText($("link"), "waiting for the first report");
}

start();
