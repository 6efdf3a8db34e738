// The labels of a result as a list: colour, count, name, scores.
import { probability } from "./classes.js";
import { el, swatch } from "./dom.js";
import { percent } from "./format.js";

/** @typedef {import("./api.js").Job} Job */

/**
 * One item a label, most frequent first.
 *
 * @param {Job} job
 * @returns {HTMLElement[]}
 */
export function labelItems(job) {
  if (!job.result) return [];
  if (job.result.task === "classification") {
    const { classes = [] } = /** @type {import("./api.js").Result} */ (job.result);
    return classes.map(({ label, score }) => el("li", {}, swatch(job.colours?.[label]), label, el("span", { class: "scores", text: probability(score) })));
  }
  /** @type {Map<string, number[]>} */
  const scores = new Map(Object.keys(job.result.counts).map((label) => [label, []]));
  for (const { label, score } of job.result.detections ?? []) scores.get(label)?.push(score); // a video has none here
  return [...scores].map(([label, values]) =>
    el(
      "li",
      {},
      swatch(job.colours?.[label]),
      el("span", {}, el("span", { class: "count", text: String(job.result?.counts[label]) }), ` ${job.nouns?.[label] ?? label}`),
      values.length > 0 && el("span", { class: "scores", text: scoreText(values) }),
    ),
  );
}

/** Scores of one label in a few characters: "87 %", "87, 64 %", "31–94 %". @param {number[]} scores */
export function scoreText(scores) {
  const sorted = [...scores].sort((a, b) => b - a);
  const whole = (/** @type {number} */ score) => Math.round(score * 100);
  if (sorted.length <= 3) return [...sorted.slice(0, -1).map(whole), percent(sorted[sorted.length - 1])].join(", ");
  return `${whole(sorted[sorted.length - 1])}–${percent(sorted[0])}`;
}
