// What this server looked at last, as a grid of links.
import { getCounts, listJobs, shareUrl } from "./api.js";
import { byId, el, icon } from "./dom.js";
import { plural, relative } from "./format.js";
import { playOnHover } from "./preview.js";

/** @typedef {import("./api.js").Job} Job */

const PAGE = 12;
const MOST_PAGES = 5; // asked for at once, where most of what they hold is shown already
/** @type {Record<string, string>} */
const STATES = { queued: "In the queue", running: "Working", failed: "Failed", canceled: "Canceled" };

/** @type {string | null} */
let next = null;
/** Failures that are shown, and how often: what fails again and again is one tile. @type {Map<string, {chip: HTMLElement, times: number}>} */
const failures = new Map();

/** The state in a word; null where the job is one more of a failure that is shown. @param {Job} job */
function stateChip(job) {
  const chip = el("span", { class: `chip ${job.state}`, text: STATES[job.state] });
  if (job.state !== "failed") return chip;
  const alike = JSON.stringify([job.filename, job.model, job.error?.code]);
  const shown = failures.get(alike);
  if (!shown) {
    failures.set(alike, { chip, times: 1 });
    return chip;
  }
  shown.chip.textContent = `${STATES.failed} ${++shown.times} times`;
  return null;
}

/** @param {Job} job @returns {HTMLElement | null} null where another stands for it */
function tile(job) {
  const chip = STATES[job.state] ? stateChip(job) : "";
  if (chip === null) return null;
  const thumb = el("div", { class: "thumb" });
  const tile = el("a", { class: "tile", href: shareUrl(job.id), title: `${job.filename ?? job.id}, looked at by ${job.model}` });
  const video = job.kind === "video";
  const { thumbnail, preview } = job.links ?? {};
  if (thumbnail) {
    const image = /** @type {HTMLImageElement} */ (el("img", { alt: "", loading: "lazy", decoding: "async", src: thumbnail }));
    image.addEventListener("error", () => image.remove());
    thumb.append(image);
    if (preview) playOnHover(tile, image, preview);
  }
  thumb.append(icon(video ? "video" : "image", "icon thumb-icon"), ...(video ? [el("span", { class: "moving", text: "Video" })] : []));
  const note = el("span", { class: "tile-note" }, chip);
  if (job.created_at) note.append(relative(job.created_at));
  tile.append(thumb, el("span", { class: "tile-name", text: job.filename ?? job.id }), note);
  return el("li", {}, tile);
}

/** @param {string | null} cursor */
async function gather(cursor) {
  /** @type {HTMLElement[]} */
  const tiles = [];
  for (let pages = 0; pages < MOST_PAGES && tiles.length < PAGE; pages++) {
    const page = await listJobs(PAGE, cursor);
    tiles.push(...page.jobs.flatMap((job) => tile(job) ?? []));
    cursor = page.next;
    if (!cursor) break;
  }
  return { tiles, cursor };
}

/** @param {string | null} cursor */
async function load(cursor) {
  const grid = byId("recent-grid");
  if (!cursor) failures.clear();
  let more;
  try {
    more = await gather(cursor);
  } catch {
    return; // a server may not list, or not answer: then there is no such section
  }
  next = more.cursor;
  if (!cursor) grid.replaceChildren();
  grid.append(...more.tiles);
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
