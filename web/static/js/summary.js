// How far all files together are: the bar, the line under it, and what a screen reader says of it now and then.
import { byId } from "./dom.js";
import { fileSize, plural } from "./format.js";

/** @typedef {import("./job-row.js").JobRow} JobRow */

const ANNOUNCE_MS = 5000;
const EASILY_SEEN = 5; // files; among more, the failed ones are to be looked for

export class Summary {
  #frame = 0;
  #announced = 0;
  #timer = 0;
  #rows;

  /** @param {() => Iterable<JobRow>} rows */
  constructor(rows) {
    this.#rows = rows;
  }

  /** Something has changed; many calls are one repaint. */
  touch() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint() {
    let total = 0;
    let done = 0;
    let failed = 0;
    let fraction = 0;
    let bytes = 0;
    let sent = 0;
    let noun = "photo";
    let videos = 0;
    for (const row of this.#rows()) {
      total++;
      fraction += row.fraction;
      if (row.model) noun = "answer"; // several models for one file
      if (row.isVideo) videos++;
      if (row.done) done++;
      if (row.state === "failed") failed++;
      if (row.state !== "failed" || row.bytesSent) {
        bytes += row.file.size;
        sent += row.bytesSent;
      }
    }
    if (videos && noun === "photo") noun = videos === total ? "video" : "file";
    const finished = done === total;
    byId("work").hidden = total === 0;
    byId("clear-done").hidden = done === 0;
    byId("next-failed").hidden = failed === 0 || total <= EASILY_SEEN;
    const bar = /** @type {HTMLProgressElement} */ (byId("overall-bar"));
    bar.hidden = finished;
    bar.value = total ? fraction / total : 0;
    const parts = [finished ? `${plural(total - failed, noun)} done` : `${done} of ${total} done`];
    if (failed) parts.push(`${failed} failed`);
    if (sent < bytes && !finished) parts.push(`${fileSize(sent)} of ${fileSize(bytes)} sent`);
    const text = parts.join(" · ");
    byId("overall-text").textContent = text;
    document.title = finished ? "Dropsight" : `(${done}/${total}) Dropsight`;
    if (total) this.#announce(text, finished);
  }

  /** @param {string} text @param {boolean} now */
  #announce(text, now) {
    clearTimeout(this.#timer);
    const wait = now ? 0 : Math.max(0, this.#announced + ANNOUNCE_MS - Date.now());
    this.#timer = setTimeout(() => {
      this.#announced = Date.now();
      byId("announce").textContent = text;
    }, wait);
  }
}
