// A line or a zone drawn on a picture: by mouse or finger on the picture, or as numbers beside it.
import { el, icon, svg } from "../dom.js";
import { lineShape, shapeLayer, zoneShape } from "./shapes.js";

/** @typedef {[number, number]} Point shares of width and height */
/** @typedef {"none" | "line" | "zone"} Kind */

const NEAR = 24; // CSS pixels from a handle that still take hold of it: a finger's width
const MOST_CORNERS = 32;
const SHORTEST = 0.02; // share of the picture that a line is long
/** What one begins with, so that the keyboard has something to move. @type {Record<string, Point[]>} */
const FIRST = {
  line: [[0.1, 0.6], [0.9, 0.6]],
  zone: [[0.25, 0.3], [0.75, 0.3], [0.75, 0.9], [0.25, 0.9]],
};
const HINTS = {
  none: "",
  line: "Press and drag on the picture to draw the line, or drag its ends. Who crosses it is counted, by direction: with the arrow and against it. What counts is the middle of an object's lower edge.",
  zone: "Drag the corners; press on the picture for one more. Who is ever inside is counted. What counts is the middle of an object's lower edge.",
};

export class ShapeEditor {
  /** @type {Kind} */
  kind = "none";
  /** @type {Record<string, Point[]>} what was drawn of each kind */
  #drawn = structuredClone(FIRST);
  #size;
  #layer;
  #stage;
  #fields = el("div", { class: "points" });
  #hint = el("p", { class: "note" });
  #onChange;
  /** The point that is held, or -1. */
  #held = -1;
  /** The line before a new one was begun: a mere tap draws none. @type {Point[]} */
  #before = [];

  /**
   * @param {HTMLElement} place
   * @param {object} settings
   * @param {string} settings.picture address of the picture to draw on
   * @param {{width: number, height: number}} settings.size of the picture
   * @param {number[] | null | undefined} settings.line that was counted with
   * @param {[number, number][] | null | undefined} settings.zone that was counted with
   * @param {() => void} settings.onChange
   */
  constructor(place, { picture, size, line, zone, onChange }) {
    this.#size = size;
    this.#onChange = onChange;
    if (line) this.#drawn.line = [[line[0], line[1]], [line[2], line[3]]];
    if (zone) this.#drawn.zone = zone.map(([x, y]) => [x, y]);
    this.kind = line ? "line" : zone ? "zone" : "none";
    this.#layer = shapeLayer(size, "");
    this.#layer.setAttribute("aria-hidden", "true"); // the numbers say it
    this.#stage = el("div", { class: "picture editor-stage" }, el("img", { src: picture, alt: "", draggable: "false" }), this.#layer);
    this.#stage.style.setProperty("--width", String(size.width));
    this.#stage.style.setProperty("--height", String(size.height));
    const choice = (/** @type {Kind} */ kind, /** @type {string} */ text) => {
      const radio = /** @type {HTMLInputElement} */ (el("input", { type: "radio", name: "count", value: kind, checked: kind === this.kind }));
      radio.addEventListener("change", () => this.#choose(kind));
      return el("label", { class: "check" }, radio, text);
    };
    const choices = el("fieldset", { class: "checks" }, el("legend", { text: "Count" }), choice("none", "all objects only"), choice("line", "also who crosses a line"), choice("zone", "also who is in a zone"));
    place.replaceChildren(choices, this.#stage, this.#hint, this.#fields);
    this.#listen();
    this.#choose(this.kind);
  }

  /** As the fields of a form; empty for what is not to be counted. @returns {{line: string, zone: string}} */
  get options() {
    const points = this.#points.map(([x, y]) => `${round(x)},${round(y)}`);
    return { line: this.kind === "line" ? points.join(",") : "", zone: this.kind === "zone" ? points.join(" ") : "" };
  }

  get #points() {
    return this.kind === "none" ? [] : this.#drawn[this.kind];
  }

  /** @param {Kind} kind */
  #choose(kind) {
    this.kind = kind;
    this.#stage.hidden = kind === "none";
    this.#hint.textContent = HINTS[kind];
    this.#showFields();
    this.#paint();
  }

  #paint() {
    const points = this.#points;
    const shape = this.kind === "line" ? lineShape(points.flat(), this.#size) : this.kind === "zone" ? zoneShape(points, this.#size) : [];
    // A line of no length with round ends: a dot that stays round in a stretched picture.
    const handles = points.flatMap(([x, y]) => {
      const d = `M${x * this.#size.width} ${y * this.#size.height}h0`;
      return [svg("path", { class: "handle under", d }), svg("path", { class: "handle over", d })];
    });
    this.#layer.replaceChildren(...shape, ...handles);
    for (const [index, field] of this.#fields.querySelectorAll("input").entries()) {
      const value = String(Math.round((points[index >> 1]?.[index % 2] ?? 0) * 1000) / 10);
      if (field !== document.activeElement && field.value !== value) field.value = value;
    }
    this.#onChange();
  }

  #showFields() {
    const zone = this.kind === "zone";
    const rows = this.#points.map((point, index) => {
      const name = zone ? `Corner ${index + 1}` : index ? "To" : "From";
      const field = (/** @type {0 | 1} */ axis) => {
        const input = /** @type {HTMLInputElement} */ (el("input", { type: "number", min: "0", max: "100", step: "any", inputmode: "decimal", "aria-label": `${name}, ${axis ? "from the top" : "from the left"}, in percent` }));
        input.addEventListener("input", () => {
          if (!input.validity.valid || input.value === "") return;
          point[axis] = Number(input.value) / 100;
          this.#paint();
        });
        // step="any" takes every number; the arrows go by whole percents all the same
        input.addEventListener("keydown", (event) => {
          const step = event.key === "ArrowUp" ? 1 : event.key === "ArrowDown" ? -1 : 0;
          if (!step) return;
          event.preventDefault();
          point[axis] = Math.min(Math.max(point[axis] + step / 100, 0), 1);
          input.value = String(Math.round(point[axis] * 1000) / 10);
          this.#paint();
        });
        return input;
      };
      const remove = zone && this.#points.length > 3 && el("button", { type: "button", class: "icon-button danger", "aria-label": `Remove corner ${index + 1}`, on: { click: () => this.#remove(index) } }, icon("close"));
      return el("div", { class: "point" }, el("span", { text: name }), field(0), field(1), el("span", { class: "note", text: "%" }), remove);
    });
    const add = zone && this.#points.length < MOST_CORNERS && el("button", { type: "button", class: "button quiet small", text: "One more corner", on: { click: () => this.#add() } });
    const legend = rows.length > 0 && el("p", { class: "note", text: "Or as numbers, in percent: from the left, from the top." });
    this.#fields.replaceChildren(...[legend, ...rows, add].filter((part) => part instanceof HTMLElement));
  }

  /** Between the last corner and the first. */
  #add() {
    const [[ax, ay], [bx, by]] = [this.#points[this.#points.length - 1], this.#points[0]];
    this.#points.push([(ax + bx) / 2, (ay + by) / 2]);
    this.#showFields();
    this.#paint();
    this.#fields.querySelectorAll("input")[2 * this.#points.length - 2]?.focus();
  }

  /** @param {number} index */
  #remove(index) {
    this.#points.splice(index, 1);
    this.#showFields();
    this.#paint();
    this.#fields.querySelector("input")?.focus();
  }

  #listen() {
    const place = (/** @type {PointerEvent} */ event) => {
      const { left, top, width, height } = this.#stage.getBoundingClientRect();
      const share = (/** @type {number} */ value) => Math.min(Math.max(value, 0), 1);
      return /** @type {Point} */ ([share((event.clientX - left) / width), share((event.clientY - top) / height)]);
    };
    this.#stage.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.#stage.setPointerCapture(event.pointerId);
      this.#held = this.#hold(place(event));
      this.#paint();
    });
    this.#stage.addEventListener("pointermove", (event) => {
      if (this.#held < 0) return;
      this.#points[this.#held].splice(0, 2, ...place(event));
      this.#paint();
    });
    const release = () => {
      this.#held = -1;
      const [[ax, ay], [bx, by]] = this.#drawn.line;
      if (this.kind !== "line" || Math.hypot(bx - ax, by - ay) > SHORTEST) return;
      this.#drawn.line = structuredClone(this.#before);
      this.#showFields();
      this.#paint();
    };
    for (const name of ["pointerup", "pointercancel"]) this.#stage.addEventListener(name, release);
  }

  /** The point that is pressed, or a new one where nothing is. @param {Point} at @returns {number} its index */
  #hold(at) {
    const { width, height } = this.#stage.getBoundingClientRect();
    const far = ([x, y] = /** @type {Point} */ ([0, 0])) => Math.hypot((x - at[0]) * width, (y - at[1]) * height);
    const nearest = this.#points.reduce((best, point, index) => (far(point) < far(this.#points[best]) ? index : best), 0);
    this.#before = structuredClone(this.#points);
    if (far(this.#points[nearest]) <= NEAR) return nearest;
    if (this.kind === "line") {
      this.#points[0].splice(0, 2, ...at);
      this.#points[1].splice(0, 2, ...at);
      return 1;
    }
    if (this.#points.length >= MOST_CORNERS) return -1;
    const index = this.#edge(at, width, height) + 1;
    this.#points.splice(index, 0, at);
    this.#showFields();
    return index;
  }

  /** The edge that is nearest to a place, as the index of its first corner. @param {Point} at @param {number} width @param {number} height */
  #edge([x, y], width, height) {
    const distance = (/** @type {number} */ index) => {
      const [ax, ay] = this.#points[index];
      const [bx, by] = this.#points[(index + 1) % this.#points.length];
      const [ux, uy, vx, vy] = [(bx - ax) * width, (by - ay) * height, (x - ax) * width, (y - ay) * height];
      const along = Math.min(Math.max((ux * vx + uy * vy) / (ux * ux + uy * uy || 1), 0), 1);
      return Math.hypot(vx - along * ux, vy - along * uy);
    };
    return this.#points.reduce((best, _, index) => (distance(index) < distance(best) ? index : best), 0);
  }
}

/** @param {number} share */
function round(share) {
  return Math.round(share * 10_000) / 10_000;
}
