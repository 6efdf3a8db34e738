// Boxes and masks over the picture: an SVG in the pixels of the oriented original, and name tags as HTML above it.
import { el, svg } from "./dom.js";
import { percent, share } from "./format.js";
import { outlineOf } from "./masks.js";

/** @typedef {import("./api.js").Job} Job */

const CROWDED = 14; // with more boxes than this, names show on the active one only
const [FINE, COARSE] = [400, 240]; // cells a side that an outline is traced on, with few objects and with many
const SLICE_MS = 12; // masks are traced for so long at a time, then the page may do something else

/** Black or white, whichever reads better on the colour. @param {string} colour "#rrggbb" */
export function textOn(colour) {
  const channel = (/** @type {number} */ at) => {
    const value = Number.parseInt(colour.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  };
  const luminance = 0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5);
  return luminance > 0.18 ? "#000000" : "#ffffff";
}

export class Overlay {
  /** @type {Map<number, SVGElement>} */
  #boxes = new Map();
  /** @type {Map<number, HTMLElement>} */
  #tags = new Map();
  #svg;
  #layer;
  #picture;
  #job;

  /**
   * @param {HTMLElement} picture the box that holds the image; the layers are put into it
   * @param {Job} job a finished one
   * @param {object} options
   * @param {boolean} options.burned what is found is in the image already: draw the active one only
   * @param {(index: number | null) => void} options.onActive a box is pointed at or has the focus
   */
  constructor(picture, job, { burned, onActive }) {
    const result = /** @type {import("./api.js").Result} */ (job.result);
    const { width, height } = result.source;
    this.#svg = svg("svg", { class: "overlay", tabindex: "-1", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "group", "aria-label": "Objects in the picture. The arrow keys go from one to the next." });
    this.#layer = el("div", { class: "tags", "aria-hidden": "true" });
    this.#svg.classList.toggle("burned", burned);
    this.#layer.classList.toggle("burned", burned);

    // Large boxes first: what is painted last is on top, and small boxes must be reachable.
    const area = (/** @type {number} */ index) => size(result.detections[index].box).reduce((a, b) => a * b);
    const order = result.detections.map((_, index) => index).sort((a, b) => area(b) - area(a));
    for (const index of order) {
      const colour = job.colours?.[result.detections[index].label] ?? "#ffffff";
      this.#addBox(index, result.detections[index], colour);
      this.#addTag(index, result.detections[index], colour);
    }
    this.#rove(0);
    this.#addMasks(result.detections, order);

    const indexOf = (/** @type {Event} */ event) => {
      const group = event.target instanceof Element ? event.target.closest("g") : null;
      return group ? Number(group.dataset.index) : null;
    };
    this.#svg.addEventListener("pointerover", (event) => onActive(indexOf(event)));
    this.#svg.addEventListener("pointerleave", () => onActive(null));
    this.#svg.addEventListener("focusin", (event) => onActive(indexOf(event)));
    this.#svg.addEventListener("focusout", () => onActive(null));
    this.#svg.addEventListener("keydown", (event) => this.#onKey(/** @type {KeyboardEvent} */ (event)));
    this.#picture = picture;
    this.#job = result;
    picture.append(this.#svg, this.#layer);
    new ResizeObserver(() => this.#place()).observe(picture);
  }

  /** @param {Set<number>} visible */
  show(visible) {
    for (const [index, box] of this.#boxes) box.classList.toggle("off", !visible.has(index));
    for (const [index, tag] of this.#tags) tag.classList.toggle("off", !visible.has(index));
    this.#layer.classList.toggle("crowded", visible.size > CROWDED);
    this.#rove(0);
    this.#place();
  }

  /** @param {number | null} active */
  activate(active) {
    this.#svg.classList.toggle("has-active", active !== null);
    for (const [index, box] of this.#boxes) box.classList.toggle("active", index === active);
    for (const [index, tag] of this.#tags) tag.classList.toggle("active", index === active);
    if (active !== null) this.#place(active);
  }

  /** What is drawn at all. @param {{boxes: boolean, masks: boolean}} what */
  draw({ boxes, masks }) {
    this.#svg.classList.toggle("no-boxes", !boxes);
    this.#svg.classList.toggle("no-masks", !masks);
    for (const layer of [this.#svg, this.#layer]) layer.classList.toggle("plain", !boxes && !masks);
  }

  /** @param {number} index @param {import("./api.js").Detection} found @param {string} colour */
  #addBox(index, found, colour) {
    const [x, y] = found.box;
    const [width, height] = size(found.box);
    const covers = found.mask_percent == null ? "" : `, covers ${share(found.mask_percent)} of the picture`;
    const group = svg("g", { tabindex: "-1", role: "img", "aria-label": `${found.label}, ${percent(found.score)}${covers}`, "data-index": index, "data-label": found.label });
    group.style.setProperty("--class-colour", colour);
    for (const part of ["halo", "edge"]) group.append(svg("rect", { class: part, x, y, width, height, rx: 1 }));
    this.#boxes.set(index, group);
    this.#svg.append(group);
  }

  /** Bit by bit: a hundred masks must not hold up the page. @param {import("./api.js").Detection[]} detections @param {number[]} order */
  async #addMasks(detections, order) {
    const cells = detections.length > CROWDED ? COARSE : FINE;
    let begin = performance.now();
    for (const index of order) {
      const { mask } = detections[index];
      const line = mask && outlineOf(mask, cells);
      if (!line) continue;
      const group = /** @type {SVGElement} */ (this.#boxes.get(index));
      group.append(svg("path", { class: "shape-halo", d: line }), svg("path", { class: "shape", d: line }));
      group.classList.add("outlined");
      if (performance.now() - begin < SLICE_MS) continue;
      await new Promise((resolve) => setTimeout(resolve));
      begin = performance.now();
    }
    this.#svg.dataset.masks = "ready";
  }

  /** @param {number} index @param {import("./api.js").Detection} found @param {string} colour */
  #addTag(index, found, colour) {
    const tag = el("span", { class: "tag" }, found.label, el("span", { class: "score", text: ` ${percent(found.score)}` }));
    tag.style.setProperty("--class-colour", colour);
    tag.style.setProperty("--tag-text", textOn(colour));
    this.#tags.set(index, tag);
    this.#layer.append(tag);
  }

  /**
   * Puts each name beside its box, inside the picture, where no other name is: the surest object chooses first.
   *
   * @param {number} [only] this one alone, wherever the others are
   */
  #place(only) {
    const { clientWidth: width, clientHeight: height } = this.#picture;
    const scale = width / this.#job.source.width;
    /** @type {[number, number, number, number][]} */
    const taken = [];
    const indices = only === undefined ? [...this.#tags.keys()].sort((a, b) => this.#job.detections[b].score - this.#job.detections[a].score) : [only];
    for (const index of indices) {
      const tag = this.#tags.get(index);
      if (!tag?.offsetWidth) continue; // not shown
      const [left, top, right, bottom] = this.#job.detections[index].box.map((value) => value * scale);
      const [w, h] = [tag.offsetWidth, tag.offsetHeight];
      const places = [[left, top - h - 2], [left, top + 2], [right - w, top - h - 2], [left, bottom + 2], [right - w, bottom - h - 2], [left, bottom - h - 2]].map(
        ([x, y]) => [Math.max(0, Math.min(x, width - w)), Math.max(0, Math.min(y, height - h))],
      );
      const free = places.find(([x, y]) => taken.every(([l, t, r, b]) => x >= r || x + w <= l || y >= b || y + h <= t));
      const [x, y] = free ?? places[0];
      taken.push([x, y, x + w, y + h]);
      tag.style.left = `${(100 * x) / width}%`;
      tag.style.top = `${(100 * y) / height}%`;
    }
  }

  /** The boxes that are shown, from left to right: the order of the arrow keys. */
  #reachable() {
    const left = (/** @type {SVGElement} */ group) => Number(group.firstElementChild?.getAttribute("x"));
    return [...this.#boxes.values()].filter((group) => !group.classList.contains("off")).sort((a, b) => left(a) - left(b));
  }

  /** One stop of the Tab key for all boxes; the arrows move it. @param {number} at */
  #rove(at) {
    const groups = this.#reachable();
    for (const group of this.#boxes.values()) group.setAttribute("tabindex", "-1");
    groups[at]?.setAttribute("tabindex", "0");
    return groups[at];
  }

  /** @param {KeyboardEvent} event */
  #onKey(event) {
    const groups = this.#reachable();
    const at = groups.indexOf(/** @type {SVGElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const moves = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: groups.length - 1 };
    if (event.key === "Escape") /** @type {SVGElement} */ (document.activeElement).blur();
    if (!(event.key in moves) || !groups.length) return;
    event.preventDefault();
    this.#rove((moves[event.key] + groups.length) % groups.length)?.focus();
  }
}

/** @param {[number, number, number, number]} box @returns {[number, number]} width and height */
function size([left, top, right, bottom]) {
  return [Math.max(0, right - left), Math.max(0, bottom - top)];
}
