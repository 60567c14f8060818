// Numbers and times as text, and elements made without HTML: nothing that came as data is ever parsed as markup.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// Rewrites a definition list of pairs, leaving alone what has not changed, so that a selection survives.
export function setFacts(list, pairs, wrap = false) {
  const wanted = pairs.length * (wrap ? 1 : 2);
  if (list.children.length !== wanted) {
    list.replaceChildren();
    for (const _ of pairs) {
      const parts = [make("dt"), make("dd")];
      list.append(...(wrap ? [make("div", {}, ...parts)] : parts));
    }
  }
  const names = list.querySelectorAll("dt");
  const values = list.querySelectorAll("dd");
  pairs.forEach(([name, value], index) => {
    setText(names[index], name);
    setText(values[index], value);
  });
}

export function setText(element, text) {
  const wanted = String(text);
  if (element.textContent !== wanted) element.textContent = wanted;
}

const formats = new Map();

export function number(value, digits = 2) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (!formats.has(digits)) {
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    formats.set(digits, new Intl.NumberFormat("en-US", options));
  }
  return formats.get(digits).format(value);
}

// Quantities span many sizes: five significant digits say enough of any of them.
export const quantity = (value, digits = 5) =>
  value === null || value === undefined ? "–" : value.toLocaleString("en-US", { maximumSignificantDigits: digits });

// How many decimals this market's prices have: as many as the longest in its book.
export function decimals(report) {
  const prices = [...report.depth.top_bids, ...report.depth.top_asks].map((level) => level.price);
  const lengths = prices.map((price) => (String(price).split(".")[1] ?? "").length);
  return Math.min(8, Math.max(0, ...lengths));
}

export function age(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 3_600_000 ? `${Math.floor(ms / 60_000)} min` : `${Math.floor(ms / 3_600_000)} h`;
}

export const clock = (ms) => new Date(ms).toISOString().slice(11, 19);

export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// A canvas as sharp as the screen; returns its context in CSS pixels and its size.
export function sharp(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}
