// The page of a finished photo: the picture with what was found in it, which can be filtered.
import { showClasses, showHeatSwitch } from "./classes.js";
import { byId, el } from "./dom.js";
import { showDownloads } from "./downloads.js";
import { showFacts } from "./facts.js";
import { percent, plural, share } from "./format.js";
import { showLabelSwitches } from "./label-switches.js";
import { ObjectsTable } from "./objects-table.js";
import { Overlay } from "./overlay.js";

/** @typedef {import("./api.js").Job} Job */

/** @param {Job} job */
export function showPhoto(job) {
  showDownloads(byId("downloads"), job);
  showFacts(byId("facts"), job);
  const classified = job.result.task === "classification";
  byId("objects-section").hidden = classified;
  byId("classes-section").hidden = !classified;
  if (classified) showClassified(job);
  else showObjects(job);
}

/**
 * Puts up the image. What is drawn over it is shown once the image is (view.css): boxes on an empty place mislead.
 *
 * @param {Job} job
 * @returns {boolean} whether the boxes are part of the image
 */
function showImage(job) {
  const result = /** @type {import("./api.js").Result} */ (job.result);
  const picture = byId("picture");
  picture.style.setProperty("--width", String(result.source.width));
  picture.style.setProperty("--height", String(result.source.height));
  picture.dataset.image = "loading";
  const { original, image } = job.links ?? {};
  // Decoded at once when it is there: in the same frame as the boxes.
  const element = /** @type {HTMLImageElement} */ (el("img", { alt: result.text, id: "image", decoding: "sync" }));
  element.addEventListener("load", () => (picture.dataset.image = "shown"));
  element.addEventListener("error", () => {
    // A format this browser cannot show, or a file that is gone: the drawn one it is.
    if (image && original && element.getAttribute("src") === original) {
      element.src = image;
      document.dispatchEvent(new CustomEvent("burned"));
      return;
    }
    picture.dataset.image = "missing";
    byId("stage-note").hidden = false;
    byId("stage-note").textContent = "The picture could not be loaded. Reload the page to try again.";
  });
  element.src = original ?? image ?? "";
  picture.replaceChildren(element);
  return !original;
}

/** @param {Job} job */
function showClassified(job) {
  const { image, original, heatmap } = job.links ?? {};
  for (const id of ["labels-field", "score-field", "drawn-field", "outlines-field"]) byId(id).hidden = true;
  showImage(job);
  showClasses(byId("classes"), job);
  showHeatSwitch(job, (shown) => {
    /** @type {HTMLImageElement} */ (byId("image")).src = (shown ? heatmap : (original ?? image)) ?? "";
  });
}

/** @param {Job} job */
function showObjects(job) {
  const result = /** @type {import("./api.js").Result} */ (job.result);
  const masked = result.detections.some(({ mask }) => mask);
  const boxes = /** @type {HTMLInputElement} */ (byId("drawn"));
  const outlines = /** @type {HTMLInputElement} */ (byId("outlines"));
  boxes.checked = !masked;
  outlines.checked = masked;

  /** @type {Overlay} */
  let overlay;
  const activate = (/** @type {number | null} */ index) => {
    overlay.activate(index);
    table.activate(index);
  };
  /** @type {Set<string>} labels that are switched off */
  const hidden = new Set();
  /** @type {Set<number>} single objects that are */
  const off = new Set();
  const table = new ObjectsTable(byId("table-place"), job, activate, (index, shown) => {
    if (shown) off.delete(index);
    else off.add(index);
    filter();
  });
  const cover = (/** @type {boolean} */ burned) => {
    byId("picture").querySelectorAll(".overlay, .tags").forEach((layer) => layer.remove());
    overlay = new Overlay(byId("picture"), job, { burned, onActive: activate });
    byId("drawn-field").hidden = burned || !result.detections.length;
    byId("outlines-field").hidden = burned || !masked;
    byId("stage-note").hidden = !burned;
    byId("stage-note").textContent = burned ? "Browsers cannot show this file itself: this is the drawn picture, with all that was found." : "";
  };
  document.addEventListener("burned", () => (cover(true), filter()));
  cover(showImage(job));

  const slider = /** @type {HTMLInputElement} */ (byId("min-score"));
  const lowest = Number(result.options?.score ?? 0);
  slider.min = slider.value = String(Number.isFinite(lowest) ? lowest : 0);

  const filter = () => {
    const least = Number(slider.value);
    const listed = new Set(result.detections.flatMap(({ label, score }, index) => (!hidden.has(label) && score >= least - 1e-9 ? [index] : [])));
    const visible = new Set([...listed].filter((index) => !off.has(index)));
    overlay.show(visible);
    overlay.draw({ boxes: boxes.checked, masks: outlines.checked && masked });
    table.show(listed, off);
    byId("min-score-value").textContent = percent(least);
    byId("labels-all").hidden = hidden.size === 0 && off.size === 0;
    const count = visible.size === result.detections.length ? plural(visible.size, "object") : `${visible.size} of ${plural(result.detections.length, "object")} shown`;
    byId("shown-count").textContent = result.mask_percent == null || !visible.size ? count : `${count}; all together cover ${share(result.mask_percent)} of the picture`;
  };
  showLabelSwitches(job, hidden, filter);
  byId("labels-all").addEventListener("click", () => {
    hidden.clear();
    off.clear();
    for (const box of byId("label-switches").querySelectorAll("input")) box.checked = true;
    byId("label-switches").querySelector("input")?.focus();
    filter();
  });
  byId("score-field").hidden = !result.detections.length;
  slider.addEventListener("input", filter);
  for (const box of [boxes, outlines]) box.addEventListener("change", filter);
  filter();
}
