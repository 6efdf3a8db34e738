// The objects that were followed through the video, as a table: each line leads to where its object is seen.
import { el, plainHead, swatch } from "../dom.js";
import { clock, duration, percent } from "../format.js";

/** @typedef {import("../api.js").Job} Job */
/** @typedef {import("../api.js").Track} Track */

const COLUMNS = ["Number", "Label", "First seen", "Last seen", "Seen for", "Best score"];

export class TracksTable {
  /** @type {{track: Track, row: HTMLElement}[]} */
  #entries;

  /**
   * @param {HTMLElement} place
   * @param {Job} job a finished video
   * @param {(seconds: number) => void} onSeek
   */
  constructor(place, job, onSeek) {
    const { tracks } = /** @type {import("../api.js").VideoResult} */ (job.result);
    this.#entries = tracks.map((track) => ({ track, row: line(track, job.colours?.[track.label], onSeek) }));
    const body = el("tbody", {}, ...this.#entries.map(({ row }) => row));
    body.addEventListener("click", (event) => {
      const target = /** @type {Element} */ (event.target);
      const row = target.closest("tr");
      if (row && !target.closest("button")) onSeek(Number(row.dataset.first));
    });
    place.replaceChildren(tracks.length ? el("table", { class: "objects tracks" }, plainHead(COLUMNS), body) : el("p", { class: "nothing", text: "Nothing was seen long enough to be followed." }));
  }

  /** @param {Set<string>} hidden labels that are switched off */
  show(hidden) {
    for (const { track, row } of this.#entries) row.hidden = hidden.has(track.label);
  }

  /** Lights up who is to be seen now. @param {number} time seconds */
  at(time) {
    for (const { track, row } of this.#entries) row.classList.toggle("active", track.first <= time + 1e-3 && time <= track.last + 1e-3);
  }
}

/** @param {Track} track @param {string | undefined} colour @param {(seconds: number) => void} onSeek */
function line(track, colour, onSeek) {
  const { id, label, first, last, score } = track;
  const seek = (/** @type {number} */ time, /** @type {string} */ words) =>
    el("button", { type: "button", class: "name seek", text: clock(time), "aria-label": `Go to ${clock(time)}, where ${label} ${id} is ${words}`, on: { click: () => onSeek(time) } });
  return el(
    "tr",
    { "data-first": first, "data-id": id },
    el("td", { text: `#${id}` }),
    el("td", {}, el("span", { class: "first" }, swatch(colour), label)),
    el("td", {}, seek(first, "first seen")),
    el("td", {}, seek(last, "last seen")),
    el("td", { class: "soft", text: duration((last - first) * 1000) }),
    el("td", { class: "soft", text: percent(score) }),
  );
}
