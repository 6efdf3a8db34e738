// What was counted at the line and in the zone.
import { el, swatch } from "../dom.js";
import { plural } from "../format.js";

/** @typedef {import("../api.js").Job} Job */

/**
 * @param {Job} job a finished video
 * @returns {HTMLElement[]} nothing if nothing was to be counted
 */
export function crossings(job) {
  const { line, zone } = /** @type {import("../api.js").VideoResult} */ (job.result);
  const parts = [];
  if (line) {
    const labels = [...new Set([...Object.keys(line.to_right), ...Object.keys(line.to_left)])];
    const number = (/** @type {string} */ label) => [line.to_right[label] ?? 0, line.to_left[label] ?? 0];
    parts.push(table("Crossed the line", ["With the arrow", "Against it"], labels, number, job));
  }
  if (zone) {
    parts.push(table("Were in the zone", ["Different ones"], Object.keys(zone.entered), (label) => [zone.entered[label]], job));
    parts.push(el("p", { class: "note", text: `At most ${plural(zone.most, "object")} at the same time.` }));
  }
  return parts;
}

/**
 * @param {string} caption
 * @param {string[]} columns
 * @param {string[]} labels
 * @param {(label: string) => number[]} numbers a number a column
 * @param {Job} job
 */
function table(caption, columns, labels, numbers, job) {
  if (!labels.length) return el("p", {}, el("strong", { text: caption }), ": nobody and nothing.");
  const sum = (/** @type {string} */ label) => numbers(label).reduce((a, b) => a + b, 0);
  const rows = labels
    .sort((a, b) => sum(b) - sum(a))
    .map((label) => el("tr", {}, el("th", { scope: "row" }, el("span", { class: "first" }, swatch(job.colours?.[label]), label)), ...numbers(label).map((value) => el("td", { text: String(value) }))));
  const head = el("tr", {}, el("th", { scope: "col" }, el("span", { class: "visually-hidden", text: "Label" })), ...columns.map((text) => el("th", { scope: "col", text })));
  return el("table", { class: "crossings" }, el("caption", { text: caption }), el("thead", {}, head), el("tbody", {}, ...rows));
}
