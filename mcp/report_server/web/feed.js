// Where the numbers come from: /stream for one market, /symbols and /reports for the list.
//
// The stream is read with fetch, because an EventSource cannot send a token. The reader sends a sign of life each
// second, so five silent seconds mean a lost connection, whatever the operating system still believes.

const SILENCE_MS = 5000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 2000;
const LIST_EVERY_MS = 2000;
const MOST_SYMBOLS = 50; // that /reports answers at once
const TOKEN = "context8-token";

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: (text) => sessionStorage.setItem(TOKEN, text),
};

// Thrown where a person has to do something: nothing gets better by trying again with the same token.
export class TokenWanted extends Error {}

async function ask(path, signal) {
  const headers = token.get() ? { authorization: `Bearer ${token.get()}` } : {};
  const answer = await fetch(path, { headers, signal, cache: "no-store" });
  if (answer.status === 401) throw new TokenWanted("a token is needed");
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(typeof said.error === "string" ? said.error : `the reader answered ${answer.status}`);
  }
  return answer;
}

// 64-bit numbers would lose their last digits, so they stay text.
const exact = (name, value, context) => (name === "writerToken" ? (context?.source ?? String(value)) : value);

export function parsed(frame) {
  const lines = { event: "", data: "" };
  for (const line of frame.split("\n")) {
    const colon = line.indexOf(": ");
    if (colon > 0) lines[line.slice(0, colon)] = line.slice(colon + 2);
  }
  return lines.event ? { name: lines.event, content: JSON.parse(lines.data, exact) } : null;
}

// One market's reports, from now until close(). `onEvent(name, content)` gets the events of /stream, `onLink(state,
// why)` says how the connection is: connecting, live, lost or token.
export class Stream {
  constructor(symbol, onEvent, onLink) {
    this.symbol = symbol;
    this.onEvent = onEvent;
    this.onLink = onLink;
    this.closed = false;
    this.pause = FIRST_PAUSE_MS;
    this.run();
  }

  close() {
    this.closed = true;
    this.abort?.abort();
    clearTimeout(this.watch);
  }

  async run() {
    while (!this.closed) {
      this.abort = new AbortController();
      try {
        await this.read(this.abort.signal);
        throw new Error("the reader ended the connection");
      } catch (error) {
        clearTimeout(this.watch);
        if (this.closed) return;
        if (error instanceof TokenWanted) return this.onLink("token", error.message);
        this.onLink("lost", this.silent ? "the reader is silent" : error.message);
      }
      await new Promise((resolve) => setTimeout(resolve, this.pause));
      this.pause = Math.min(this.pause * 2, LONGEST_PAUSE_MS);
    }
  }

  async read(signal) {
    this.listen();
    const answer = await ask(`/stream?symbols=${encodeURIComponent(this.symbol)}`, signal);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done || this.closed) return;
      this.listen();
      this.pause = FIRST_PAUSE_MS;
      this.onLink("live", "");
      const frames = (rest + value).split("\n\n");
      rest = frames.pop();
      for (const event of frames.map(parsed)) if (event) this.onEvent(event.name, event.content);
    }
  }

  listen() {
    clearTimeout(this.watch);
    this.silent = false;
    const abort = this.abort;
    this.watch = setTimeout(() => {
      this.silent = true;
      abort.abort();
    }, SILENCE_MS);
  }
}

// Calls `onList(rows)` every two seconds while somebody looks; a row is {symbol, status, age_ms, mid, score}.
export function pollList(onList, onTrouble) {
  const once = async () => {
    const { symbols } = await (await ask("/symbols", AbortSignal.timeout(SILENCE_MS))).json();
    const reports = {};
    for (let from = 0; from < symbols.length; from += MOST_SYMBOLS) {
      const names = symbols.slice(from, from + MOST_SYMBOLS).map((each) => encodeURIComponent(each.symbol));
      const path = `/reports?symbols=${names.join(",")}&fields=mid_price,health.score`;
      Object.assign(reports, (await (await ask(path, AbortSignal.timeout(SILENCE_MS))).json()).reports);
    }
    onList(symbols.map((each) => {
      const report = reports[each.symbol];
      return { ...each, mid: report?.mid_price ?? null, score: report?.health?.score ?? null };
    }));
  };
  const forever = async () => {
    for (;;) {
      if (!document.hidden) await once().catch((error) => onTrouble(error));
      await new Promise((resolve) => setTimeout(resolve, LIST_EVERY_MS));
    }
  };
  forever();
}
