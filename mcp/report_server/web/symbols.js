// The list of markets: status, age and the course of the mid price. One tab stop; the arrow keys change the market.

import { $, age, colour, make, number, setText, sharp } from "./format.js";

const POINTS = 90; // three minutes of one look every two seconds

export class Symbols {
  constructor(onChoose) {
    this.onChoose = onChoose;
    this.rows = new Map();
    this.chosen = null;
    $("symbols").addEventListener("keydown", (event) => this.key(event));
    $("filter").addEventListener("input", () => this.filter());
    $("filter").addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") this.shown()[0]?.element.focus();
    });
  }

  show(list) {
    const names = new Set(list.map((each) => each.symbol));
    for (const [name, row] of this.rows) {
      if (names.has(name)) continue;
      row.element.remove();
      this.rows.delete(name);
    }
    list.forEach((each, index) => {
      const row = this.rows.get(each.symbol) ?? this.add(each.symbol, index);
      row.mids.push(each.mid);
      row.mids.splice(0, row.mids.length - POINTS);
      setText(row.status, each.status ?? "?");
      row.status.className = ["ok", "degraded", "down"].includes(each.status) ? each.status : "";
      setText(row.age, age(each.age_ms));
      setText(row.score, `health ${number(each.score, 0)}`);
    });
    setText($("count"), `(${list.length})`);
    this.filter();
    this.sparklines();
  }

  add(symbol, index) {
    const [status, aged, score] = [make("span"), make("span"), make("span")];
    const small = make("small", {}, status, " · ", aged);
    const canvas = make("canvas", { "aria-hidden": "true" });
    const element = make("div", { class: "symbol", role: "option", tabindex: "-1", "aria-selected": "false" }, make("b", {}, symbol), make("small", {}, score), canvas, small);
    const row = { symbol, element, canvas, status, age: aged, score, mids: [] };
    element.addEventListener("click", () => this.choose(symbol));
    $("symbols").insertBefore(element, $("symbols").children[index] ?? null);
    this.rows.set(symbol, row);
    if (symbol === this.chosen) this.mark();
    return row;
  }

  filter() {
    const wanted = $("filter").value.trim().toUpperCase();
    for (const row of this.rows.values()) row.element.hidden = !row.symbol.includes(wanted);
    const shown = this.shown();
    $("symbols").setAttribute("aria-busy", String(!this.rows.size));
    setText($("list-note"), shown.length || !this.rows.size ? "" : "no such symbol");
    const stop = shown.find((row) => row.symbol === this.chosen) ?? shown[0];
    for (const row of this.rows.values()) row.element.tabIndex = row === stop ? 0 : -1;
  }

  shown() {
    const order = [...$("symbols").children];
    return [...this.rows.values()].filter((row) => !row.element.hidden).sort((a, b) => order.indexOf(a.element) - order.indexOf(b.element));
  }

  key(event) {
    const shown = this.shown();
    const at = shown.findIndex((row) => row.element === document.activeElement);
    const places = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: shown.length - 1, Enter: at, " ": at };
    const row = shown[places[event.key]];
    if (!(event.key in places)) return;
    event.preventDefault();
    if (!row) return;
    row.element.focus();
    this.choose(row.symbol);
  }

  choose(symbol) {
    if (symbol === this.chosen) return;
    this.chosen = symbol;
    this.mark();
    this.filter();
    this.onChoose(symbol);
  }

  mark() {
    for (const row of this.rows.values()) row.element.setAttribute("aria-selected", String(row.symbol === this.chosen));
  }

  sparklines() {
    for (const row of this.rows.values()) if (!row.element.hidden) sparkline(row.canvas, row.mids);
  }
}

function sparkline(canvas, mids) {
  const { context, width, height } = sharp(canvas);
  const known = mids.filter((each) => each !== null);
  if (known.length < 2) return;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const y = (mid) => 3 + (height - 6) * (1 - (high > low ? (mid - low) / (high - low) : 0.5));
  context.beginPath();
  let drawing = false;
  mids.forEach((mid, index) => {
    const x = 2 + (width - 4) * (index / (mids.length - 1));
    if (mid === null) return void (drawing = false);
    if (drawing) context.lineTo(x, y(mid));
    else context.moveTo(x, y(mid));
    drawing = true;
  });
  context.strokeStyle = colour(known.at(-1) >= known[0] ? "bid" : "ask");
  context.lineWidth = 1.4;
  context.stroke();
}
