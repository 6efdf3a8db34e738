// What there is to know about the result of a video beside the objects.
import { el } from "../dom.js";
import { commonFacts, fact, times, wide } from "../facts.js";
import { clock, duration, fileSize } from "../format.js";
import { excerpt } from "./running.js";

/** @typedef {import("../api.js").Job} Job */

const PHASES = ["fetch", "plan", "load", "decode", "inference", "draw", "encode", "track", "join", "store"];

/** @param {HTMLElement} place @param {Job} job a finished video */
export function showVideoFacts(place, job) {
  const { source, timings_ms: timings, frames, analysed, video_options: options } = /** @type {import("../api.js").VideoResult} */ (job.result);
  const rate = (/** @type {number} */ fps) => `${fps.toFixed(2).replace(/\.?0+$/, "")} frames/s`;
  const part = excerpt(options ?? {});
  place.replaceChildren(
    wide(fact("Video", `${source.width} × ${source.height} pixels, ${clock(source.duration)}, ${rate(source.fps)}, ${source.codec}, ${source.audio ? `sound in ${source.audio}` : "no sound"}, ${fileSize(source.bytes)}`)),
    fact("Frames", analysed === frames ? `${frames.toLocaleString("en")}, all looked at` : `${analysed.toLocaleString("en")} of ${frames.toLocaleString("en")} looked at`),
    ...(part ? [fact("Part", part)] : []),
    ...(timings.total > 0 ? [fact("Speed", rate((analysed * 1000) / timings.total))] : []),
    ...(timings.total > 0 ? [fact("Time taken", duration(timings.total))] : []),
    wide(fact("Time of all workers", ...times({ ...timings, total: sum(timings) }, PHASES), el("span", { class: "note", text: ". The steps run side by side, so that their sum can be more than the time taken." }))),
    ...commonFacts(job),
  );
}

/** @param {Record<string, number>} timings */
function sum(timings) {
  return PHASES.reduce((total, phase) => total + (timings[phase] ?? 0), 0);
}
