// The liquidity heat map: time to the right, price upwards, colour for the quantity that rests there.
//
// Quantities span many sizes, so colour is logarithmic. A report has the best 20 levels of a side: within their reach
// an empty price is known to be empty and has the lowest colour, beyond it nothing is known and nothing is drawn. Each
// frame is computed as pixels of a small picture and scaled up, which costs the same however much is going on.

import { $, clock, colour, number, quantity, sharp } from "./format.js";
import { HOLDS_MS } from "./history.js";

const COLUMNS = 360;
const LONGEST_MS = 60_000; // over more time a market moves so far that its book becomes a thin line
const AXIS = 72;
const FOOT = 18;
const ROW_PX = 3;
const WIDEST = 1000; // the largest quantity against the smallest that has a colour of its own
const DARK = ["#0b0724", "#3b0f70", "#8c2981", "#de4968", "#fe9f6d", "#fcfdbf"];
const LIGHT = ["#f3f8ee", "#c7e9b4", "#7fcdbb", "#41b6c4", "#225ea8", "#081d58"];

const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

function palette() {
  const stops = (isDark() ? DARK : LIGHT).map((hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16)));
  return Uint32Array.from({ length: 256 }, (_, index) => {
    const place = (index / 255) * (stops.length - 1);
    const from = Math.min(Math.floor(place), stops.length - 2);
    const [red, green, blue] = stops[from].map((part, at) => part + (stops[from + 1][at] - part) * (place - from));
    return (255 << 24) | (Math.round(blue) << 16) | (Math.round(green) << 8) | Math.round(red);
  });
}

export class HeatMap {
  constructor() {
    this.reach = 9; // how many times the present book's height may be shown, however far the market has moved
    this.canvas = $("heatmap");
    this.picture = document.createElement("canvas");
    this.cursor = null; // {time, price} as shares of the picture
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.move(null));
    this.canvas.addEventListener("keydown", (event) => this.step(event));
    $("nearer").addEventListener("click", () => this.zoom(1 / 1.5));
    $("farther").addEventListener("click", () => this.zoom(1.5));
    this.recolour();
  }

  zoom(factor) {
    this.reach = Math.min(60, Math.max(1, this.reach * factor));
    if (this.history) this.draw(this.history, this.digits);
  }

  recolour() {
    this.colours = palette();
    const scale = $("scale");
    const context = scale.getContext("2d");
    const pixels = context.createImageData(scale.width, scale.height);
    new Uint32Array(pixels.data.buffer).forEach((_, at, all) => {
      all[at] = this.colours[Math.floor(((at % scale.width) / (scale.width - 1)) * 255)];
    });
    context.putImageData(pixels, 0, 0);
  }

  draw(history, digits) {
    this.history = history;
    this.digits = digits;
    const { context, width, height } = sharp(this.canvas);
    this.plot = { width: width - AXIS, height: height - FOOT };
    this.end = history.now;
    this.span = Math.min(history.span, LONGEST_MS);
    const shown = history.samples.filter((each) => each.at >= this.end - this.span);
    const range = priceRange(shown, this.reach);
    this.range = range;
    if (!range) return;
    this.fill(history, range, Math.max(20, Math.floor(this.plot.height / ROW_PX)));
    context.fillStyle = colour("unknown");
    context.fillRect(0, 0, this.plot.width, this.plot.height);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.picture, 0, 0, this.plot.width, this.plot.height);
    this.axes(context);
    this.lines(context, history);
    this.cross(context);
  }

  fill(history, range, rows) {
    const sums = new Float32Array(COLUMNS * rows).fill(-1);
    let least = Infinity;
    let most = 0;
    const row = (price) => Math.floor(((range.high - price) / (range.high - range.low)) * rows);
    history.samples.forEach(({ at, report }, index) => {
      const from = Math.max(0, this.column(at));
      const to = Math.min(COLUMNS, Math.max(from + 1, this.column(history.until(index))));
      if (at < this.end - this.span - HOLDS_MS) return;
      const column = new Float32Array(rows).fill(-1);
      for (const side of [report.depth.top_bids, report.depth.top_asks]) {
        if (!side.length) continue;
        const reach = [row(side[0].price), row(side.at(-1).price)].sort((a, b) => a - b);
        for (let at = Math.max(0, reach[0]); at <= Math.min(rows - 1, reach[1]); at++) column[at] = Math.max(column[at], 0);
        for (const { price, qty } of side) {
          const place = row(price);
          if (place >= 0 && place < rows) column[place] += qty;
        }
      }
      for (let place = 0; place < rows; place++) {
        const sum = column[place];
        if (sum > 0) [least, most] = [Math.min(least, sum), Math.max(most, sum)];
        for (let each = from; each < to; each++) sums[place * COLUMNS + each] = sum;
      }
    });
    this.paint(sums, rows, least, most);
  }

  paint(sums, rows, least, most) {
    this.picture.width = COLUMNS;
    this.picture.height = rows;
    const context = this.picture.getContext("2d");
    const pixels = context.createImageData(COLUMNS, rows);
    const out = new Uint32Array(pixels.data.buffer);
    least = Math.max(least, most / WIDEST); // a few specks of dust would otherwise take half of the colours
    const span = Math.log(most / least) || 1;
    sums.forEach((sum, at) => {
      if (sum < 0) return;
      out[at] = this.colours[sum === 0 ? 0 : 24 + Math.max(0, Math.round((231 * Math.log(sum / least)) / span))];
    });
    context.putImageData(pixels, 0, 0);
    $("least").textContent = most ? quantity(least, 2) : "";
    $("most").textContent = most ? quantity(most, 2) : "";
  }

  column(at) {
    return Math.round(COLUMNS * (1 - (this.end - at) / this.span));
  }

  x(at) {
    return this.plot.width * (1 - (this.end - at) / this.span);
  }

  y(price) {
    return (this.plot.height * (this.range.high - price)) / (this.range.high - this.range.low);
  }

  axes(context) {
    const { width, height } = this.plot;
    context.fillStyle = colour("soft");
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (let share = 0.05; share < 1; share += 0.15) {
      const price = this.range.high - share * (this.range.high - this.range.low);
      context.fillText(number(price, this.digits), width + 12, share * height);
    }
    context.textBaseline = "alphabetic";
    for (const share of width < 420 ? [0, 0.5, 1] : [0, 0.25, 0.5, 0.75, 1]) {
      context.textAlign = share === 0 ? "left" : share === 1 ? "right" : "center";
      const text = clock(this.end - (1 - share) * this.span) + (share === 1 ? " UTC" : "");
      context.fillText(text, share * width, height + FOOT - 4);
    }
    context.textAlign = "left";
  }

  lines(context, history) {
    const latest = history.samples.at(-1).report;
    context.save();
    context.beginPath();
    context.rect(0, 0, this.plot.width + 12, this.plot.height);
    context.clip();
    const poc = latest.liquidity.volume_profile?.POC;
    if (poc !== undefined) this.dashed(context, this.y(poc), colour("poc"));
    this.midLine(context, history);
    context.fillStyle = colour("ink");
    for (const wall of latest.liquidity.walls ?? []) {
      const size = { low: 3, medium: 4.5, high: 6 }[wall.severity];
      const at = this.y(wall.price);
      context.beginPath();
      context.moveTo(this.plot.width + 1, at);
      context.lineTo(this.plot.width + 11, at - size);
      context.lineTo(this.plot.width + 11, at + size);
      context.fill();
    }
    context.restore();
  }

  midLine(context, history) {
    context.beginPath();
    let known = false;
    history.samples.forEach(({ at, report }, index) => {
      const mid = report.mid_price;
      if (mid === null) return void (known = false);
      if (known) context.lineTo(this.x(at), this.y(mid));
      else context.moveTo(this.x(at), this.y(mid));
      context.lineTo(this.x(history.until(index)), this.y(mid));
      known = history.samples[index + 1]?.at === history.until(index);
    });
    // Two strokes, so that the line stands out from every colour below it.
    for (const [style, width] of [[isDark() ? "#000" : "#fff", 3.5], [colour("mid"), 1.5]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.stroke();
    }
  }

  dashed(context, y, style) {
    context.setLineDash([6, 4]);
    context.strokeStyle = style;
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(this.plot.width, y);
    context.stroke();
    context.setLineDash([]);
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    this.move({ time: (event.clientX - box.left) / this.plot.width, price: (event.clientY - box.top) / this.plot.height });
  }

  step(event) {
    const moves = { ArrowLeft: [-1 / 60, 0], ArrowRight: [1 / 60, 0], ArrowUp: [0, -1 / 60], ArrowDown: [0, 1 / 60] };
    if (event.key === "Escape") return this.move(null);
    if (!(event.key in moves)) return;
    event.preventDefault();
    const { time, price } = this.cursor ?? { time: 1, price: 0.5 };
    this.move({ time: time + moves[event.key][0], price: price + moves[event.key][1] });
  }

  move(cursor) {
    const inside = (share) => Math.min(1, Math.max(0, share));
    this.cursor = cursor && { time: inside(cursor.time), price: inside(cursor.price) };
    if (this.history) this.draw(this.history, this.digits);
  }

  cross(context) {
    if (!this.cursor) return;
    const { width, height } = this.plot;
    context.strokeStyle = colour("soft");
    context.lineWidth = 1;
    context.strokeRect(-1, this.cursor.price * height, width + 2, 0);
    context.strokeRect(this.cursor.time * width, -1, 0, height + 2);
    $("reading").textContent = this.read();
  }

  read() {
    const at = this.end - (1 - this.cursor.time) * this.span;
    const price = this.range.high - this.cursor.price * (this.range.high - this.range.low);
    const index = this.history.samples.findLastIndex((each) => each.at <= at);
    if (index < 0 || at > this.history.until(index)) return `${clock(at)} UTC: no report`;
    const { top_bids, top_asks } = this.history.samples[index].report.depth;
    const levels = [...top_bids, ...top_asks];
    if (!levels.length) return `${clock(at)} UTC: no book`;
    const nearest = levels.reduce((best, each) => (Math.abs(each.price - price) < Math.abs(best.price - price) ? each : best));
    const side = top_bids.includes(nearest) ? "bid" : "ask";
    return `${clock(at)} UTC: ${side} ${number(nearest.price, this.digits)} × ${quantity(nearest.qty)}`;
  }
}

function priceRange(samples, reach) {
  const books = samples.map((each) => each.report.depth).filter((depth) => depth.top_bids.length && depth.top_asks.length);
  if (!books.length) return null;
  let low = Math.min(...books.map((depth) => depth.top_bids.at(-1).price));
  let high = Math.max(...books.map((depth) => depth.top_asks.at(-1).price));
  const [bid, ask] = [books.at(-1).top_bids, books.at(-1).top_asks];
  const most = reach * (ask.at(-1).price - bid.at(-1).price);
  if (high - low > most) {
    const middle = (bid[0].price + ask[0].price) / 2;
    [low, high] = [Math.max(low, middle - most / 2), Math.min(high, middle + most / 2)];
  }
  const margin = (high - low) * 0.02 || high * 1e-6;
  return { low: low - margin, high: high + margin };
}
