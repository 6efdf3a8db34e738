// What a classifier says: its classes with bars, and the heat map of what speaks for one of them.
import { byId, el } from "./dom.js";
import { percent } from "./format.js";

/** @typedef {import("./api.js").Job} Job */

/** A probability: more exact near 0 and 1 than "0 %" and "100 %". @param {number} score */
export function probability(score) {
  return score > 0.995 || (score > 0 && score < 0.005) ? `${(score * 100).toFixed(2)} %` : percent(score);
}

/** @param {HTMLElement} place @param {Job} job a finished one */
export function showClasses(place, job) {
  const { classes = [], explained } = /** @type {import("./api.js").Result} */ (job.result);
  const items = classes.map(({ label, class_id: id, score }) => {
    const bar = el("span", { class: "class-bar", "aria-hidden": "true" });
    bar.style.setProperty("--part", `${score * 100}%`);
    const colour = job.colours?.[label];
    if (colour) bar.style.setProperty("--class-colour", colour);
    const note = explained?.class_id === id && el("span", { class: "note", text: " in the heat map" });
    return el("li", {}, el("span", { class: "class-name" }, label, note), el("span", { class: "class-score", text: probability(score) }), bar);
  });
  place.replaceChildren(...items);
}

/**
 * The switch between the photo and its heat map.
 *
 * @param {Job} job a finished one
 * @param {(shown: boolean) => void} onSwitch
 */
export function showHeatSwitch(job, onSwitch) {
  const { explained } = /** @type {import("./api.js").Result} */ (job.result);
  const there = Boolean(job.links?.heatmap);
  byId("heat-field").hidden = !there;
  if (!there) return;
  byId("heat-note").textContent = explained ? `The warm places speak for “${explained.label}”.` : "";
  const heat = /** @type {HTMLInputElement} */ (byId("heat"));
  heat.checked = false;
  heat.addEventListener("change", () => onSwitch(heat.checked));
}
