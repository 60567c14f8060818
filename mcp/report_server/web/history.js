// What the charts draw: the last minutes of one market, thinned to two samples a second.

const WINDOW_MS = 180_000;
const LEAST_MS = 30_000;
const APART_MS = 480;
const GOES_ON_MS = 5000; // an anomaly that is back sooner has not been away
// A report holds until the next; after this long without one nothing is known any more.
export const HOLDS_MS = 1500;

export class History {
  constructor() {
    this.samples = [];
    this.spells = []; // anomalies, each from when it was first to when it was last in a report
  }

  add(report) {
    const at = report.updatedAt;
    const last = this.samples.at(-1);
    if (last && at <= last.at) return;
    // A stale report is the last one again, with other words: it adds nothing to what was seen.
    if (report.ingestion.stale) return;
    const sample = { at, report };
    const before = this.samples.at(-2);
    if (before && last.at - before.at < APART_MS && at - before.at < APART_MS * 2) this.samples.pop();
    this.samples.push(sample);
    while (this.samples[0].at < at - WINDOW_MS) this.samples.shift();
    this.noteAnomalies(report.anomalies ?? [], at);
  }

  noteAnomalies(anomalies, at) {
    for (const { type, severity, note } of anomalies) {
      // The figures of a note change while the anomaly lasts; what it is about stands before its first colon.
      const about = `${type} ${note.split(":")[0]}`;
      const known = this.spells.findLast((spell) => spell.about === about);
      if (known && at - known.to < GOES_ON_MS) Object.assign(known, { to: at, severity, note });
      else this.spells.push({ about, type, severity, note, from: at, to: at });
    }
    this.spells = this.spells.filter((spell) => spell.to >= at - WINDOW_MS).slice(-200);
  }

  // How much time the charts show: what is known, within limits.
  get span() {
    return Math.min(WINDOW_MS, Math.max(LEAST_MS, this.now - (this.samples[0]?.at ?? 0)));
  }

  get now() {
    return this.samples.at(-1)?.at ?? Date.now();
  }

  // Until when each sample holds: to the next one, or until nothing is known.
  until(index) {
    const { at } = this.samples[index];
    return Math.min(this.samples[index + 1]?.at ?? at + 500, at + HOLDS_MS);
  }
}
