// The objects of a result as a table that can be sorted, and as a CSV file.
import { el, swatch } from "./dom.js";
import { percent } from "./format.js";

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {import("./api.js").Detection} Detection
 */

const COLUMNS = /** @type {const} */ ([
  ["label", "Label", "ascending"],
  ["score", "Score", "descending"],
  ["area", "Share", "descending"],
  ["left", "Box: left, top, width × height", "ascending"],
]);

export class ObjectsTable {
  /** @type {{index: number, label: string, score: number, area: number, left: number, row: HTMLElement}[]} */
  #entries;
  #body = el("tbody");
  /** @type {Map<string, HTMLElement>} */
  #heads = new Map();

  /**
   * @param {HTMLElement} place
   * @param {Job} job a finished one
   * @param {(index: number | null) => void} onActive
   */
  constructor(place, job, onActive) {
    const result = /** @type {import("./api.js").Result} */ (job.result);
    const pixels = result.source.width * result.source.height;
    this.#entries = result.detections.map((found, index) => {
      const [left, top, right, bottom] = found.box;
      const area = ((right - left) * (bottom - top)) / pixels;
      return { index, label: found.label, score: found.score, area, left, row: row(index, found, area, job.colours?.[found.label]) };
    });
    const head = el("tr");
    for (const [key, title, first] of COLUMNS) {
      const cell = el("th", { scope: "col" }, el("button", { type: "button", text: title, on: { click: () => this.#sort(key, cell.getAttribute("aria-sort") === first ? opposite(first) : first) } }));
      this.#heads.set(key, cell);
      head.append(cell);
    }
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

  /** @param {Set<number>} visible */
  show(visible) {
    for (const { index, row } of this.#entries) row.hidden = !visible.has(index);
  }

  /** @param {number | null} active */
  activate(active) {
    for (const { index, row } of this.#entries) row.classList.toggle("active", index === active);
  }

  /** @param {"label" | "score" | "area" | "left"} key @param {string} direction */
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

/** @param {number} index @param {Detection} found @param {number} area @param {string | undefined} colour */
function row(index, found, area, colour) {
  const [left, top, right, bottom] = found.box.map(Math.round);
  const bar = el("span", { class: "bar", "aria-hidden": "true" });
  bar.style.setProperty("--part", percent(found.score).replace(" ", ""));
  if (colour) bar.style.setProperty("--class-colour", colour);
  return el(
    "tr",
    { "data-index": index },
    el("td", {}, el("button", { type: "button", class: "name" }, swatch(colour), found.label)),
    el("td", {}, percent(found.score), bar),
    el("td", { class: "soft", text: area < 0.01 ? "under 1 %" : percent(area) }),
    el("td", { class: "soft", text: `${left}, ${top}, ${right - left} × ${bottom - top}` }),
  );
}

/** @param {Detection[]} detections */
export function toCsv(detections) {
  const quote = (/** @type {string | number} */ value) => (/[",\r\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const lines = detections.map(({ label, score, box }) => [label, score, ...box].map(quote).join(","));
  return `${["label,score,left,top,right,bottom", ...lines].join("\r\n")}\r\n`;
}
