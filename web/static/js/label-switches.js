// A switch for each label of a result: what is switched off is not shown.
import { byId, el, swatch } from "./dom.js";

/**
 * @param {import("./api.js").Job} job a finished one
 * @param {Set<string>} hidden labels that are switched off; changed here
 * @param {() => void} onChange
 */
export function showLabelSwitches(job, hidden, onChange) {
  /** @type {Record<string, number>} */
  const counts = job.result.counts;
  // Jinja's tojson sorts keys by name: most frequent first again.
  const switches = Object.entries(counts).sort((a, b) => b[1] - a[1]).map(([label, count]) => {
    const box = /** @type {HTMLInputElement} */ (el("input", { type: "checkbox", checked: true, value: label }));
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(label);
      else hidden.add(label);
      onChange();
    });
    return el("label", {}, box, swatch(job.colours?.[label]), el("span", {}, el("span", { class: "count", text: String(count) }), ` ${job.nouns?.[label] ?? label}`));
  });
  byId("label-switches").replaceChildren(...switches);
  byId("labels-field").hidden = !switches.length;
}
