// What this server looked at last, as a grid of links.
import { getCounts, listJobs, shareUrl } from "./api.js";
import { byId, el, icon } from "./dom.js";
import { plural, relative } from "./format.js";
import { playOnHover } from "./preview.js";

/** @typedef {import("./api.js").Job} Job */

const PAGE = 12;
/** @type {Record<string, string>} */
const STATES = { queued: "In the queue", running: "Working", failed: "Failed", canceled: "Canceled" };

/** @type {string | null} */
let next = null;

/** @param {Job} job */
function tile(job) {
  const thumb = el("div", { class: "thumb" });
  const tile = el("a", { class: "tile", href: shareUrl(job.id) });
  const video = job.kind === "video";
  const { thumbnail, preview } = job.links ?? {};
  if (thumbnail) {
    const image = /** @type {HTMLImageElement} */ (el("img", { alt: "", loading: "lazy", decoding: "async", src: thumbnail }));
    image.addEventListener("error", () => image.remove());
    thumb.append(image);
    if (preview) playOnHover(tile, image, preview);
  }
  thumb.append(icon(video ? "video" : "image", "icon thumb-icon"), ...(video ? [el("span", { class: "moving", text: "Video" })] : []));
  const note = el("span", { class: "tile-note" });
  if (STATES[job.state]) note.append(el("span", { class: `chip ${job.state}`, text: STATES[job.state] }));
  if (job.created_at) note.append(relative(job.created_at));
  tile.append(thumb, el("span", { class: "tile-name", text: job.filename ?? job.id }), note);
  return el("li", {}, tile);
}

/** @param {string | null} cursor */
async function load(cursor) {
  const grid = byId("recent-grid");
  let page;
  try {
    page = await listJobs(PAGE, cursor);
  } catch {
    return; // a server may not list, or not answer: then there is no such section
  }
  next = page.next;
  if (!cursor) grid.replaceChildren();
  grid.append(...page.jobs.map(tile));
  byId("recent").hidden = !grid.childElementCount;
  byId("recent-more").hidden = !next;
}

async function showCounts() {
  try {
    const { counts, total } = await getCounts();
    if (!total) return;
    const top = Object.entries(counts).sort((a, b) => b[1] - a[1]).slice(0, 3);
    byId("seen").textContent = `${plural(total, "object")} seen so far: ${top.map(([label, count]) => `${label} ${count.toLocaleString("en")}`).join(", ")}${Object.keys(counts).length > 3 ? ", …" : ""}`;
  } catch {
    // only a line less
  }
}

/** Shows the newest jobs; call again after some were deleted. */
export async function showRecent() {
  await Promise.all([load(null), showCounts()]);
}

byId("recent-more").addEventListener("click", () => load(next));
