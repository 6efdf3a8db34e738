// What is in each frame, page by page: a long video is never read whole.
import { getFrames } from "../api.js";

/** @typedef {import("../api.js").FrameDetections} FrameDetections */

const PAGE = 120;
const KEPT = 24; // pages
const RETRY_MS = 3000;

export class Frames {
  #id;
  #total;
  #fps;
  /** @type {Map<number, FrameDetections[] | null>} page to frames; null while it is on its way; the oldest first */
  #pages = new Map();
  /** How many pages the last frame was from where even frames would put it: frames may come irregularly. */
  #drift = 0;
  #onPage;

  /**
   * @param {string} id of the job
   * @param {{analysed: number, fps: number}} result
   * @param {() => void} onPage another page is here
   */
  constructor(id, { analysed, fps }, onPage) {
    this.#id = id;
    this.#total = analysed;
    this.#fps = fps;
    this.#onPage = onPage;
  }

  /**
   * The frame that is shown at a time; null while nobody knows.
   *
   * @param {number} time seconds in the drawn video
   * @returns {FrameDetections | null}
   */
  at(time) {
    const last = Math.floor((this.#total - 1) / PAGE);
    const even = Math.floor((time * this.#fps) / PAGE);
    let number = Math.min(Math.max(even + this.#drift, 0), last);
    // Half a frame early: a browser may round the time of a frame down.
    const sought = time + 0.4 / Math.max(this.#fps, 1);
    for (;;) {
      const page = this.#page(number);
      if (!page?.length) return null;
      if (page[0].time > sought && number > 0) {
        number--;
        continue;
      }
      if (page[page.length - 1].time <= sought && number < last) {
        const next = this.#page(number + 1);
        if (next?.length && next[0].time <= sought) {
          number++;
          continue;
        }
      }
      this.#drift = number - even;
      return lastBefore(page, sought);
    }
  }

  /** @param {number} number */
  #page(number) {
    const page = this.#pages.get(number);
    if (page !== undefined) return page;
    this.#pages.set(number, null);
    this.#load(number);
    return null;
  }

  /** @param {number} number */
  async #load(number) {
    try {
      const { frames } = await getFrames(this.#id, number * PAGE, PAGE);
      this.#pages.delete(number);
      this.#pages.set(number, frames);
      for (const old of this.#pages.keys()) if (this.#pages.size > KEPT) this.#pages.delete(old);
      this.#onPage();
    } catch {
      setTimeout(() => this.#pages.delete(number), RETRY_MS); // asked for again when it is wanted again
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
