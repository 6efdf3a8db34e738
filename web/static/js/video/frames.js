// What is in each frame, page by page: a long video is never read whole.
//
// A page is asked for by the number of a frame in the original. Frames may come irregularly, so the number for a time is
// a guess at first, and a better one once a page near it is known.
import { getFrames } from "../api.js";

/** @typedef {import("../api.js").FrameDetections} FrameDetections */
/** @typedef {{start: number, frames: FrameDetections[], next: number | null}} Page `next`: start of the one after */

const LINES = 120; // a page
const KEPT = 24; // pages
const BEFORE = 10; // frames that a guess begins early
const NEAR = 5; // seconds after a page, within which the next one is read rather than guessed
const RETRY_MS = 3000;

export class Frames {
  #id;
  #fps;
  #start;
  /** @type {Page[]} the newest last */
  #pages = [];
  /** Number from which on there are no frames. */
  #end = Infinity;
  #loading = false;
  #onPage;

  /**
   * @param {string} id of the job
   * @param {import("../api.js").VideoResult} result
   * @param {() => void} onPage another page is here
   */
  constructor(id, { source, video_options: options }, onPage) {
    this.#id = id;
    this.#fps = Math.max(source.fps, 0.1);
    this.#start = Number(options?.start ?? 0);
    this.#onPage = onPage;
  }

  /**
   * The frame that is shown at a time; null while nobody knows.
   *
   * @param {number} time seconds in the drawn video
   * @returns {FrameDetections | null}
   */
  at(time) {
    // A little early: a browser may round the time of a frame down.
    const sought = time + 0.4 / this.#fps;
    /** @type {Page | null} */
    let before = null; // the last page that begins before
    /** @type {Page | null} */
    let after = null; // the first that begins after
    for (const page of this.#pages) {
      const { time: first } = page.frames[0];
      if (first <= sought && (!before || first > before.frames[0].time)) before = page;
      if (first > sought && (!after || first < after.frames[0].time)) after = page;
    }
    if (before) {
      const last = before.frames[before.frames.length - 1];
      const whole = before.next === null || after?.start === before.next;
      if (before.next !== null && sought > last.time - 1) this.#load(before.next); // soon wanted
      if (sought <= last.time || whole || sought - last.time < 1.5 / this.#fps) return lastBefore(before.frames, sought);
      if (sought - last.time < NEAR) return null;
    }
    this.#load(this.#guess(sought, before, after));
    return null;
  }

  /** @param {number} sought @param {Page | null} before @param {Page | null} after */
  #guess(sought, before, after) {
    const known = before?.frames[before.frames.length - 1] ?? after?.frames[0] ?? { index: this.#start * this.#fps, time: 0 };
    let start = Math.max(Math.floor(known.index + (sought - known.time) * this.#fps) - BEFORE, 0);
    if (start >= this.#end) start = Math.floor(this.#end / 2);
    if (before) start = Math.max(start, before.next ?? 0);
    if (after && start >= after.start) start = Math.max(after.start - LINES, before?.next ?? 0, 0);
    return start;
  }

  /** @param {number} start */
  async #load(start) {
    if (this.#loading || this.#pages.some((page) => page.start === start)) return;
    this.#loading = true;
    try {
      const { frames, next } = await getFrames(this.#id, start, LINES);
      if (frames.length) this.#pages.push({ start, frames, next });
      else this.#end = start;
      if (this.#pages.length > KEPT) this.#pages.shift();
      this.#loading = false;
      this.#onPage();
    } catch {
      setTimeout(() => (this.#loading = false), RETRY_MS); // asked for again when it is wanted again
    }
  }
}

/** @param {FrameDetections[]} frames by time @param {number} time @returns {FrameDetections} */
function lastBefore(frames, time) {
  let [low, high] = [0, frames.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (frames[middle].time <= time) low = middle;
    else high = middle - 1;
  }
  return frames[low];
}
