// The page of one job: its live state until it is done, then the picture with what was found in it.
import { deleteJob, DONE, getJob, shareUrl, url } from "./api.js";
import { showClasses, showHeatSwitch } from "./classes.js";
import { byId, el, icon, swatch } from "./dom.js";
import { showDownloads } from "./downloads.js";
import { showFacts } from "./facts.js";
import { percent, phaseText, plural, share } from "./format.js";
import { JobEvents } from "./job-events.js";
import { ObjectsTable } from "./objects-table.js";
import { Overlay } from "./overlay.js";
import { shareLink } from "./share.js";
import { ask, toast } from "./toast.js";

/** @typedef {import("./api.js").Job} Job */

/** @param {Job} job @param {boolean} sure no question first: there is no result to lose */
async function remove(job, sure = false) {
  if (!sure && !(await ask("Delete this picture?", "The picture and its result are removed from the server, and this link stops working for everybody.", "Delete"))) return;
  try {
    await deleteJob(job.id);
    location.assign(url("/"));
  } catch (error) {
    toast(`It could not be deleted: ${/** @type {Error} */ (error).message}`);
  }
}

/** @param {string} name @param {string} text @param {() => void} onClick @param {string} [className] */
const button = (name, text, onClick, className = "") => el("button", { type: "button", class: `button ${className}`, on: { click: onClick } }, icon(name), text);

/** @param {string} image @param {string} title @param {string} text @param {string} [code] */
function pending(image, title, text, code) {
  byId("pending").hidden = false;
  byId("pending-icon").replaceChildren(icon(image));
  if (byId("pending-title").textContent !== title) byId("pending-title").textContent = title;
  if (byId("pending-text").dataset.shown !== text) {
    byId("pending-text").dataset.shown = text;
    byId("pending-text").replaceChildren(text, ...(code ? [" ", el("code", { text: code })] : []));
  }
}

/** @param {Job} job */
function showPending(job) {
  const bar = /** @type {HTMLProgressElement} */ (byId("pending-bar"));
  const actions = byId("pending-actions");
  byId("pending").dataset.state = job.state;
  byId("shown").hidden = true;
  bar.hidden = DONE.has(job.state);
  if (job.state === "queued") {
    pending("clock", "In the queue", job.position ? `This picture is number ${job.position}. The page shows the result by itself.` : "The page shows the result by itself.");
    bar.removeAttribute("value");
  } else if (job.state === "running") {
    pending("eye", "Looking at the picture", phaseText(job.progress?.phase));
    if (job.progress) bar.value = job.progress.percent;
    else bar.removeAttribute("value");
  } else if (job.state === "failed") {
    pending("alert", "This did not work", job.error?.message ?? "The server could not work on this picture.", job.error?.code);
  } else if (job.state === "canceled") {
    pending("close", "This was canceled", "Nobody has looked at this picture.");
  } else {
    pending("alert", "There is nothing here any more", "The picture was deleted, or its time was up.");
  }
  if (actions.dataset.state === job.state) return;
  actions.dataset.state = job.state;
  const again = el("a", { class: "button primary", href: url("/"), text: "Upload a picture" });
  if (!DONE.has(job.state)) actions.replaceChildren(button("link", "Copy the link", () => shareLink(shareUrl(job.id), job.filename ?? "")), button("close", "Cancel", () => remove(job, true), "quiet danger"));
  else if (job.state === "gone") actions.replaceChildren(again);
  else actions.replaceChildren(again, button("trash", "Delete", () => remove(job, true), "quiet danger"));
}

/** @param {Job} job */
function showActions(job) {
  const text = job.result?.text ?? "";
  byId("actions").replaceChildren(button("link", "Share", () => shareLink(shareUrl(job.id), text)), button("trash", "Delete", () => remove(job), "quiet danger"));
  showDownloads(byId("downloads"), job);
}

/** @param {Job} job @returns {boolean} whether the boxes are part of the image that is shown */
function showImage(job) {
  const result = /** @type {import("./api.js").Result} */ (job.result);
  const picture = byId("picture");
  picture.style.setProperty("--width", String(result.source.width));
  picture.style.setProperty("--height", String(result.source.height));
  const { original, image } = job.links ?? {};
  const element = /** @type {HTMLImageElement} */ (el("img", { alt: result.text, id: "image", decoding: "async" }));
  element.addEventListener("error", () => {
    // A format this browser cannot show, or a file that is gone: the drawn one it is.
    if (image && original && element.getAttribute("src") === original) {
      element.src = image;
      document.dispatchEvent(new CustomEvent("burned"));
    }
  });
  element.src = original ?? image ?? "";
  picture.replaceChildren(element);
  return !original;
}

/** @param {Job} job */
function showResult(job) {
  const result = /** @type {import("./api.js").Result} */ (job.result);
  byId("pending").hidden = true;
  byId("shown").hidden = false;
  byId("sentence").textContent = result.text;
  byId("state").hidden = true;
  document.title = `${result.text} · ${job.filename ?? ""} · Dropsight`;
  showActions(job);
  showFacts(byId("facts"), job);
  const classified = result.task === "classification";
  byId("objects-section").hidden = classified;
  byId("classes-section").hidden = !classified;
  if (classified) showClassified(job);
  else showObjects(job);
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
    byId("shown-count").textContent = result.mask_percent == null ? count : `${count}; all together cover ${share(result.mask_percent)} of the picture`;
  };
  // Jinja's tojson sorts keys by name: most frequent first again.
  const counts = Object.entries(result.counts).sort((a, b) => b[1] - a[1]);
  const switches = counts.map(([label, count]) => {
    const box = /** @type {HTMLInputElement} */ (el("input", { type: "checkbox", checked: true, value: label }));
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(label);
      else hidden.add(label);
      filter();
    });
    return el("label", {}, box, swatch(job.colours?.[label]), el("span", {}, el("span", { class: "count", text: String(count) }), ` ${label}`));
  });
  byId("label-switches").replaceChildren(...switches);
  byId("labels-all").addEventListener("click", () => {
    hidden.clear();
    off.clear();
    for (const box of byId("label-switches").querySelectorAll("input")) box.checked = true;
    byId("label-switches").querySelector("input")?.focus();
    filter();
  });
  for (const id of ["labels-field", "score-field"]) byId(id).hidden = !result.detections.length;
  slider.addEventListener("input", filter);
  for (const box of [boxes, outlines]) box.addEventListener("change", filter);
  filter();
}

/** @param {Job} job */
function show(job) {
  byId("view").dataset.state = job.state;
  if (job.state === "finished" && job.result) showResult(job);
  else showPending(job);
}

/** @type {Job} */
const first = JSON.parse(byId("job-data").textContent ?? "null");
show(first);
if (!DONE.has(first.state)) new JobEvents(true).watch(first.id, show);
else if (first.state === "finished" && !first.result) getJob(first.id).then(show);
