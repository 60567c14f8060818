// The book as a ladder: asks above, bids below, walls outlined and vacuums hatched, and both told in words.

import { $, make, number, quantity, setText } from "./format.js";

const LEVELS = 20;

function makeRow() {
  const price = make("td", {}, make("span", { class: "number" }));
  const amount = make("td", {}, make("span", { class: "bar" }), make("span", { class: "number" }));
  const sum = make("td", {}, make("span", { class: "number" }));
  return make("tr", {}, price, amount, sum, make("td"));
}

export class Ladder {
  constructor() {
    this.asks = Array.from({ length: LEVELS }, makeRow);
    this.bids = Array.from({ length: LEVELS }, makeRow);
    this.between = make("td", { colspan: "4" });
    const body = $("ladder").tBodies[0];
    body.append(...this.asks.toReversed(), make("tr", { class: "between" }, this.between), ...this.bids);
  }

  show(report, digits) {
    const { top_bids, top_asks, imbalance } = report.depth;
    const { walls, vacuums } = report.liquidity;
    const most = Math.max(...[...top_bids, ...top_asks].map((level) => level.qty), 0);
    this.side(this.asks, top_asks, "ask", { most, digits, walls, vacuums });
    this.side(this.bids, top_bids, "bid", { most, digits, walls, vacuums });
    setText(this.between, `spread ${number(report.spread_bps, 3)} bps · imbalance ${number(imbalance, 2)}`);
    this.say(walls, vacuums, digits);
  }

  side(rows, levels, side, { most, digits, walls, vacuums }) {
    let sum = 0;
    rows.forEach((row, index) => {
      const level = levels[index];
      row.hidden = !level;
      if (!level) return;
      sum += level.qty;
      const wall = walls?.find((each) => each.side === side && each.price === level.price);
      const empty = vacuums?.some((each) => inside(level.price, each));
      row.className = [side, wall && "wall", empty && "vacuum"].filter(Boolean).join(" ");
      const [price, amount, total, mark] = row.cells;
      setText(price.firstChild, number(level.price, digits));
      setText(amount.lastChild, quantity(level.qty));
      setText(total.firstChild, quantity(sum));
      setText(mark, [wall && `wall ${wall.severity === "medium" ? "mid" : wall.severity}`, empty && "vac."].filter(Boolean).join(" "));
      amount.firstChild.style.width = `${(100 * level.qty) / most}%`;
    });
  }

  say(walls, vacuums, digits) {
    const lines = [
      ...(walls ?? []).map((each) => `${each.severity} ${each.side} wall: ${quantity(each.qty)} at ${number(each.price, digits)}`),
      ...(vacuums ?? []).map((each) => `${each.severity} vacuum: ${number(each.from, digits)} to ${number(each.to, digits)}`),
    ];
    if (walls === null || vacuums === null) lines.push("walls and vacuums are not known yet");
    else if (!lines.length) lines.push("no walls, no vacuums");
    const list = $("marks");
    while (list.children.length > lines.length) list.lastChild.remove();
    while (list.children.length < lines.length) list.append(make("li"));
    lines.forEach((line, index) => setText(list.children[index], line));
  }
}

const inside = (price, { from, to }) => price >= Math.min(from, to) && price <= Math.max(from, to);
