// The page of a finished video: the player, what is to be seen when, and who was followed.
import { byId, el, icon } from "../dom.js";
import { showDownloads } from "../downloads.js";
import { plural } from "../format.js";
import { showLabelSwitches } from "../label-switches.js";
import { crossings } from "./crossings.js";
import { showVideoFacts } from "./facts.js";
import { Frames } from "./frames.js";
import { Numbers } from "./numbers.js";
import { lineShape, shapeLayer, zoneShape } from "./shapes.js";
import { Timeline } from "./timeline.js";
import { TracksTable } from "./tracks.js";

/** @typedef {import("../api.js").Job} Job */

const A_BIT = 0.001; // seconds: a browser that seeks to the very start of a frame may show the one before

/** @param {Job} job */
export function showVideo(job) {
  const result = /** @type {import("../api.js").VideoResult} */ (job.result);
  const { video: drawn, original } = job.links ?? {};
  // The original runs from its own beginning, times of the result from where it was looked at.
  const offset = drawn ? 0 : Number(result.video_options?.start ?? 0);
  const video = makePlayer(job);
  const seek = (/** @type {number} */ time) => {
    video.currentTime = time + offset + A_BIT;
    follow(time);
  };
  const timeline = new Timeline(byId("timeline"), job, seek);
  const tracks = new TracksTable(byId("tracks-place"), job, seek);
  const follow = (/** @type {number} */ time) => {
    timeline.at(time);
    tracks.at(time);
  };
  for (const name of ["timeupdate", "seeking", "ended"]) video.addEventListener(name, () => follow(Math.max(0, video.currentTime - offset)));

  /** @type {Set<string>} labels that are switched off */
  const hidden = new Set();
  const paint = drawn || original ? startNumbers(job, video, offset, hidden) : () => {};
  showLabelSwitches(job, hidden, () => {
    timeline.show(hidden);
    tracks.show(hidden);
    paint();
  });
  showShapes(job);
  byId("notes").replaceChildren(...result.notes.map((note) => el("div", { class: "banner" }, icon("alert"), el("p", { text: note }))));
  byId("crossings").replaceChildren(...crossings(job));
  byId("crossings").hidden = !byId("crossings").childElementCount;
  byId("video-count").textContent = `${plural(Object.values(result.counts).reduce((a, b) => a + b, 0), "different object")} in ${plural(result.analysed, "frame")}`;
  showDownloads(byId("downloads"), job);
  showVideoFacts(byId("facts"), job);
}

/** @param {Job} job */
function makePlayer(job) {
  const { source, text } = /** @type {import("../api.js").VideoResult} */ (job.result);
  const { video: drawn, original, image } = job.links ?? {};
  const player = byId("player");
  const shape = (/** @type {number} */ width, /** @type {number} */ height) => {
    player.style.setProperty("--width", String(width));
    player.style.setProperty("--height", String(height));
  };
  shape(source.width, source.height);
  const video = /** @type {HTMLVideoElement} */ (el("video", { id: "video", controls: true, playsinline: true, preload: "metadata", poster: image, "aria-label": text }));
  // Pixels need not be square: the player knows how wide it shows them.
  video.addEventListener("loadedmetadata", () => video.videoWidth && shape(video.videoWidth, video.videoHeight));
  const note = (/** @type {string} */ words) => {
    byId("stage-note").textContent = words;
    byId("stage-note").hidden = !words;
  };
  video.addEventListener("error", () => note("This browser cannot play the video; it can be downloaded."));
  note(drawn ? "" : original ? "This is the video as it came: no drawn one was asked for." : "No drawn video was asked for, and browsers cannot play this file itself.");
  if (drawn || original) video.src = drawn ?? original ?? "";
  else video.controls = false;
  player.replaceChildren(video);
  return video;
}

/**
 * The numbers over the video, while their switch is on.
 *
 * @param {Job} job
 * @param {HTMLVideoElement} video
 * @param {number} offset
 * @param {Set<string>} hidden
 * @returns {() => void} paints the present frame again
 */
function startNumbers(job, video, offset, hidden) {
  const boxes = !job.links?.video;
  const numbers = new Numbers(byId("player"), job, boxes);
  const frames = new Frames(job.id, job.result, () => paint(video.currentTime));
  const shown = /** @type {HTMLInputElement} */ (byId("numbers"));
  byId("numbers-field").hidden = !boxes && !job.result.tracks.length;
  if (boxes) byId("numbers-label").textContent = "Boxes and numbers on the video";
  const paint = (/** @type {number} */ time) => {
    const poster = video.currentTime === 0 && video.paused && !video.played.length; // another frame's picture
    numbers.draw(shown.checked && !poster ? frames.at(time - offset) : null, hidden);
  };
  const again = () => paint(video.currentTime);
  shown.addEventListener("change", again);
  video.addEventListener("seeked", again);
  if ("requestVideoFrameCallback" in HTMLVideoElement.prototype) {
    const onFrame = (/** @type {number} */ _, /** @type {{mediaTime: number}} */ { mediaTime }) => {
      paint(mediaTime);
      video.requestVideoFrameCallback(onFrame);
    };
    video.requestVideoFrameCallback(onFrame);
  } else video.addEventListener("timeupdate", again);
  return again;
}

/** The line and the zone that were counted with, over the video. @param {Job} job */
function showShapes(job) {
  const { source, line, zone } = /** @type {import("../api.js").VideoResult} */ (job.result);
  if (!line && !zone) return;
  const layer = shapeLayer(source, [line && "the counting line", zone && "the counting zone"].filter(Boolean).join(" and "));
  layer.append(...(zone ? zoneShape(zone.zone, source) : []), ...(line ? lineShape(line.line, source) : []));
  byId("player").append(layer);
  byId("shapes-field").hidden = false;
  const shown = /** @type {HTMLInputElement} */ (byId("shapes"));
  shown.addEventListener("change", () => layer.classList.toggle("off", !shown.checked));
}
