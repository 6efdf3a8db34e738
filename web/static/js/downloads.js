// The files of a result, to take home.
import { download } from "./api.js";
import { el, icon } from "./dom.js";
import { toCsv } from "./objects-table.js";

/** @param {HTMLElement} place @param {import("./api.js").Job} job a finished one */
export function showDownloads(place, job) {
  const { links = {}, result } = job;
  const video = job.kind === "video";
  const file = (/** @type {string | null | undefined} */ link, /** @type {string} */ image, /** @type {string} */ name, title = "") =>
    link ? el("a", { class: "button small", href: download(link), title: title || null }, icon(image), name) : null;
  place.replaceChildren(
    ...[
      file(links.video, "download", "Drawn video"),
      video ? null : file(links.image, "download", "Drawn picture"),
      file(links.original, video ? "video" : "image", "Original"),
      video ? file(links.image, "image", "Poster") : null,
      file(links.preview, "image", "Preview", "A short animated picture of the whole video"),
      file(links.heatmap, "image", "Heat map"),
      file(links.masks, "folder", "Masks", "A ZIP of an image for each object"),
      file(links.instances, "image", "Instance ids", "A 16-bit image: 0 is background, n the n-th object"),
      file(links.coco, "braces", "COCO JSON", "Annotations with run-length encoded masks"),
      file(links.json, "braces", "JSON"),
      file(links.frames, "braces", "Frames", "JSON Lines: a line for each frame that was looked at"),
      file(links.csv, "table", "CSV", "A line for each object in each frame"),
      video || result?.task === "classification" ? null : csv(job),
    ].filter((link) => link instanceof HTMLElement),
  );
}

/** @param {import("./api.js").Job} job */
function csv(job) {
  const name = (job.filename ?? job.id).replace(/^.*\//, "").replace(/\.[^.]*$/, "");
  const content = new Blob([toCsv(job.result?.detections ?? [])], { type: "text/csv" });
  return el("a", { class: "button small", href: URL.createObjectURL(content), download: `${name}.csv` }, icon("table"), "CSV");
}
