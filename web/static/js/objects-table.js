// The objects of a result as a table that can be sorted, and as a CSV file.
import { download } from "./api.js";
import { el, iconLink, swatch } from "./dom.js";
import { percent, share } from "./format.js";

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {import("./api.js").Detection} Detection
 */

/** @typedef {"label" | "score" | "area" | "left"} Key */

/** @type {[Key, string, string][]} */
const COLUMNS = [
  ["label", "Label", "ascending"],
  ["score", "Score", "descending"],
  ["area", "Share", "descending"],
  ["left", "Box: left, top, width × height", "ascending"],
];

export class ObjectsTable {
  /** @type {{index: number, label: string, score: number, area: number, left: number, row: HTMLElement, eye: HTMLInputElement}[]} */
  #entries;
  #body = el("tbody");
  /** @type {Map<string, HTMLElement>} */
  #heads = new Map();

  /**
   * @param {HTMLElement} place
   * @param {Job} job a finished one
   * @param {(index: number | null) => void} onActive
   * @param {(index: number, shown: boolean) => void} onToggle a single object is switched off or on
   */
  constructor(place, job, onActive, onToggle) {
    const result = /** @type {import("./api.js").Result} */ (job.result);
    const pixels = result.source.width * result.source.height;
    const masked = result.detections.some(({ mask }) => mask);
    const masks = job.links?.masks ?? null;
    this.#entries = result.detections.map((found, index) => {
      const [left, top, right, bottom] = found.box;
      const area = found.mask_percent ?? (100 * (right - left) * (bottom - top)) / pixels;
      const eye = /** @type {HTMLInputElement} */ (el("input", { type: "checkbox", class: "eye", checked: true, "aria-label": `Show ${found.label}, ${percent(found.score)}` }));
      eye.addEventListener("change", () => onToggle(index, eye.checked));
      const mask = masks && found.mask ? masks.replace(/masks\.zip$/, `masks/${index + 1}.png`) : null;
      return { index, label: found.label, score: found.score, area, left, eye, row: row(index, found, eye, area, mask, job.colours?.[found.label]) };
    });
    const head = el("tr");
    for (const [key, words, first] of COLUMNS) {
      const title = key === "area" && masked ? "Covers" : words;
      const cell = el("th", { scope: "col" }, el("button", { type: "button", text: title, on: { click: () => this.#sort(key, cell.getAttribute("aria-sort") === first ? opposite(first) : first) } }));
      this.#heads.set(key, cell);
      head.append(cell);
    }
    if (masks) head.append(el("th", { scope: "col" }, el("span", { class: "plain-head", text: "Mask" })));
    const indexOf = (/** @type {Event} */ event) => {
      const line = event.target instanceof Element ? event.target.closest("tr") : null;
      return line ? Number(line.dataset.index) : null;
    };
    this.#body.addEventListener("pointerover", (event) => onActive(indexOf(event)));
    this.#body.addEventListener("pointerleave", () => onActive(null));
    this.#body.addEventListener("focusin", (event) => onActive(indexOf(event)));
    this.#body.addEventListener("focusout", () => onActive(null));
    place.replaceChildren(
      this.#entries.length ? el("table", { class: "objects" }, el("thead", {}, head), this.#body) : el("p", { class: "nothing", text: "Nothing was found. A lower certainty may find more." }),
    );
    this.#sort("score", "descending");
  }

  /** @param {Set<number>} listed @param {Set<number>} off those of them that are switched off */
  show(listed, off) {
    for (const { index, row, eye } of this.#entries) {
      row.hidden = !listed.has(index);
      row.classList.toggle("off", off.has(index));
      eye.checked = !off.has(index);
    }
  }

  /** @param {number | null} active */
  activate(active) {
    for (const { index, row } of this.#entries) row.classList.toggle("active", index === active);
  }

  /** @param {Key} key @param {string} direction */
  #sort(key, direction) {
    const sign = direction === "ascending" ? 1 : -1;
    this.#entries.sort((a, b) => sign * (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) || a.index - b.index);
    this.#body.append(...this.#entries.map((entry) => entry.row));
    for (const [name, cell] of this.#heads) {
      if (name === key) cell.setAttribute("aria-sort", direction);
      else cell.removeAttribute("aria-sort");
    }
  }
}

/** @param {string} direction */
function opposite(direction) {
  return direction === "ascending" ? "descending" : "ascending";
}

/**
 * @param {number} index
 * @param {Detection} found
 * @param {HTMLElement} eye
 * @param {number} area percent of the picture
 * @param {string | null} mask the address of its mask
 * @param {string | undefined} colour
 */
function row(index, found, eye, area, mask, colour) {
  const [left, top, right, bottom] = found.box.map(Math.round);
  const bar = el("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--part", percent(found.score).replace(" ", ""));
  if (colour) bar.style.setProperty("--class-colour", colour);
  return el(
    "tr",
    { "data-index": index },
    el("td", {}, el("span", { class: "first" }, eye, el("button", { type: "button", class: "name" }, swatch(colour), found.label))),
    el("td", {}, percent(found.score), bar),
    el("td", { class: "soft", text: share(area) }),
    el("td", { class: "soft", text: `${left}, ${top}, ${right - left} × ${bottom - top}` }),
    mask && el("td", {}, iconLink("download", `Mask of ${found.label}, ${percent(found.score)}`, download(mask))),
  );
}

/** @param {Detection[]} detections */
export function toCsv(detections) {
  const quote = (/** @type {string | number} */ value) => (/[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const masked = detections.some(({ mask }) => mask);
  const lines = detections.map(({ label, score, box, mask_percent: covers }) => [label, score, ...box, ...(masked ? [covers ?? ""] : [])].map(quote).join(","));
  return `${[`label,score,left,top,right,bottom${masked ? ",mask_percent" : ""}`, ...lines].join("\r\n")}\r\n`;
}
