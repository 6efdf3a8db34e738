// How many of each label there are over time: a lane a label, which seeks the video; and the same as a table.
import { el, plainHead, svg, swatch } from "../dom.js";
import { clock } from "../format.js";

/** @typedef {import("../api.js").Job} Job */

const LANES = 8; // of followed objects; the others are behind a button
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200];
const MOST_TICKS = 6;

export class Timeline {
  #seconds;
  #duration;
  /** @type {[string, number[]][]} label and the most at a time in each bin */
  #series;
  /** @type {Map<string, HTMLElement[]>} what is shown of each label */
  #lanes = new Map();
  #plot = el("div", { class: "lanes", role: "slider", tabindex: "0", "aria-label": "Place in the video", "aria-valuemin": "0" });
  #head = el("div", { class: "playhead" });
  #readout = el("p", { class: "note readout", "aria-hidden": "true" });
  #onSeek;
  #now = 0;

  /**
   * @param {HTMLElement} place
   * @param {Job} job a finished video
   * @param {(seconds: number) => void} onSeek
   */
  constructor(place, job, onSeek) {
    const { timeline, duration, counts } = /** @type {import("../api.js").VideoResult} */ (job.result);
    this.#seconds = timeline.seconds;
    this.#duration = Math.max(duration, 0.001);
    this.#onSeek = onSeek;
    // Most objects first; what was never followed as an object comes last.
    this.#series = Object.entries(timeline.most).sort(([a, x], [b, y]) => (counts[b] ?? 0) - (counts[a] ?? 0) || Math.max(...y) - Math.max(...x));
    this.#plot.setAttribute("aria-valuemax", String(Math.round(this.#duration)));
    const followed = this.#series.filter(([label]) => counts[label]).length;
    const shown = Math.min(LANES, followed || this.#series.length);
    const names = el("div", { class: "lane-names" });
    for (const [index, [label, values]] of this.#series.entries()) this.#addLane(names, label, values, job.colours?.[label], index >= shown);
    this.#plot.append(this.#head);
    const plot = el("div", { class: "timeline" }, names, this.#plot, el("div", { class: "axis", "aria-hidden": "true" }, ...this.#ticks()));
    place.replaceChildren(plot, this.#readout, ...this.#more(this.#series.length - shown), this.#table());
    this.#listen();
    this.at(0);
  }

  /** The video is here now. @param {number} time seconds */
  at(time) {
    this.#now = Math.min(Math.max(time, 0), this.#duration);
    this.#head.style.left = `${(100 * this.#now) / this.#duration}%`;
    this.#read(this.#now);
    this.#plot.setAttribute("aria-valuenow", String(Math.round(this.#now)));
    this.#plot.setAttribute("aria-valuetext", this.#words(this.#now));
  }

  /** @param {Set<string>} hidden labels that are switched off */
  show(hidden) {
    for (const [label, parts] of this.#lanes) for (const part of parts) part.classList.toggle("off", hidden.has(label));
  }

  /** @param {HTMLElement} names @param {string} label @param {number[]} values @param {string | undefined} colour @param {boolean} extra */
  #addLane(names, label, values, colour, extra) {
    const top = Math.max(...values, 1);
    const name = el("div", { class: "lane-name", title: label }, swatch(colour), el("span", { class: "lane-label", text: label }), el("span", { class: "note", text: `max ${top}` }));
    const lane = el("div", { class: "lane", "data-label": label });
    if (colour) lane.style.setProperty("--class-colour", colour);
    const picture = svg("svg", { viewBox: `0 0 ${this.#duration / this.#seconds} ${top}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    // Steps: each bin as wide as it is long.
    const steps = values.map((value) => `V${top - value}h1`).join("");
    picture.append(svg("path", { d: `M0 ${top}${steps}V${top}Z` }));
    lane.append(picture);
    for (const part of [name, lane]) part.classList.toggle("extra", extra);
    this.#lanes.set(label, [name, lane]);
    names.append(name);
    this.#plot.append(lane);
  }

  #ticks() {
    const step = TICKS.find((seconds) => this.#duration / seconds <= MOST_TICKS) ?? TICKS[TICKS.length - 1];
    return Array.from({ length: Math.floor(this.#duration / step) + 1 }, (_, index) => {
      const tick = el("span", { text: clock(index * step) });
      tick.style.left = `${(100 * index * step) / this.#duration}%`;
      return tick;
    });
  }

  /** @param {number} hidden lanes */
  #more(hidden) {
    if (!hidden) return [];
    const button = el("button", { type: "button", class: "button quiet small more", text: `Show ${hidden} more` });
    button.addEventListener("click", () => {
      for (const parts of this.#lanes.values()) for (const part of parts) part.classList.remove("extra");
      button.remove();
      this.#plot.focus();
    });
    return [button];
  }

  /** Neighbours that say the same are one line. */
  #table() {
    const labels = this.#series.map(([label]) => label);
    const bins = this.#series[0]?.[1].length ?? 0;
    const rows = [];
    for (let first = 0, last = 0; first < bins; first = last) {
      const at = (/** @type {number} */ bin) => this.#series.map(([, values]) => values[bin]);
      const here = at(first).join();
      for (last = first + 1; last < bins && at(last).join() === here; ) last++;
      const [from, to] = [first * this.#seconds, Math.min(last * this.#seconds, this.#duration)];
      const seek = el("button", { type: "button", class: "name", text: `${clock(from)} – ${clock(to)}`, "aria-label": `Go to ${clock(from)}`, on: { click: () => this.#onSeek(from) } });
      rows.push(el("tr", {}, el("th", { scope: "row" }, seek), ...at(first).map((value) => el("td", value ? { text: String(value) } : { class: "soft", text: "–" }))));
    }
    if (!rows.length) return el("p", { class: "nothing", text: "Nothing was found. A lower certainty may find more." });
    const table = el("table", { class: "objects" }, el("caption", { class: "visually-hidden", text: "The most of each label at the same time" }), plainHead(["Time", ...labels]), el("tbody", {}, ...rows));
    return el("details", { class: "as-table" }, el("summary", { text: "As a table" }), el("div", { class: "table-scroll", tabindex: "0", role: "region", "aria-label": "Labels over time" }, table));
  }

  #listen() {
    const timeAt = (/** @type {PointerEvent} */ event) => {
      const { left, width } = this.#plot.getBoundingClientRect();
      return this.#duration * Math.min(Math.max((event.clientX - left) / width, 0), 1);
    };
    this.#plot.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      this.#plot.setPointerCapture(event.pointerId);
      this.#onSeek(timeAt(event));
    });
    this.#plot.addEventListener("pointermove", (event) => {
      if (this.#plot.hasPointerCapture(event.pointerId)) this.#onSeek(timeAt(event));
      else this.#read(timeAt(event));
    });
    this.#plot.addEventListener("pointerleave", () => this.#read(this.#now));
    this.#plot.addEventListener("keydown", (event) => {
      const small = Math.max(this.#seconds, 1);
      /** @type {Record<string, number>} */
      const places = {
        ArrowRight: this.#now + small,
        ArrowUp: this.#now + small,
        ArrowLeft: this.#now - small,
        ArrowDown: this.#now - small,
        PageUp: this.#now + this.#duration / 10,
        PageDown: this.#now - this.#duration / 10,
        Home: 0,
        End: this.#duration,
      };
      if (!(event.key in places)) return;
      event.preventDefault();
      this.#onSeek(Math.min(Math.max(places[event.key], 0), this.#duration));
    });
  }

  /** @param {number} time */
  #read(time) {
    const words = this.#words(time);
    if (this.#readout.textContent !== words) this.#readout.textContent = words;
  }

  /** "0:12: person 3, car 1". @param {number} time */
  #words(time) {
    const bin = Math.floor(time / this.#seconds + 1e-9);
    const there = this.#series.flatMap(([label, values]) => {
      const value = values[Math.min(bin, values.length - 1)];
      return value ? [`${label} ${value}`] : [];
    });
    return `${clock(time)}: ${there.join(", ") || "nothing"}`;
  }
}
