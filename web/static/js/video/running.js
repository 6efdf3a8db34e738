// A video that is being looked at: the newest frame, how far it is, how fast, and each part.
import { byId, el } from "../dom.js";
import { clock, phaseText, timeLeft } from "../format.js";

/** @typedef {import("../api.js").Job} Job */

const BARS = 60; // more parts than these are only counted
const PAUSE_MS = 400; // between two frames at least

/** Phases that are something else in a video than in a photo. @type {Record<string, string>} */
const PHASES = { decode: "Looking the file through", join: "Putting the parts together" };

/** "43 % · 1,200 frames · 25 frames/s · 20 s left". @param {import("../api.js").Progress | null | undefined} progress */
export function progressText(progress) {
  if (!progress) return "";
  const { phase, percent, fps, seconds_left: left, frames } = progress;
  if (phase !== "inference") return PHASES[phase] ?? phaseText(phase);
  const parts = [`${percent} %`];
  if (frames) parts.push(`${frames.toLocaleString("en")} frames`);
  if (fps) parts.push(`${fps < 10 ? fps.toFixed(1) : Math.round(fps)} frames/s`);
  if (left != null) parts.push(`${timeLeft(left)} left`);
  return parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" · "); // a line ends between them only
}

export class RunningVideo {
  #image = /** @type {HTMLImageElement} */ (byId("live"));
  #bars = byId("parts");
  #next = "";
  #asked = 0;
  #timer = 0;

  constructor() {
    // Shown when it is here, so that nothing flickers.
    this.#image.addEventListener("load", () => (this.#image.hidden = false));
    this.#image.addEventListener("error", () => (this.#image.hidden = true));
  }

  /** @param {Job} job one that runs */
  update(job) {
    const { progress, links } = job;
    this.#showParts(progress?.parts);
    if (links?.live && progress?.live != null) this.#showFrame(`${links.live}?${progress.live}`);
    byId("pending-icon").hidden = !this.#image.hidden;
  }

  /** It runs no more. */
  end() {
    clearTimeout(this.#timer);
    this.#image.hidden = true;
    this.#bars.hidden = true;
    byId("pending-icon").hidden = false;
  }

  /** One at a time, and not more often than a person sees. @param {string} address */
  #showFrame(address) {
    this.#next = address;
    if (this.#timer || this.#image.getAttribute("src") === address) return;
    const wait = Math.max(0, this.#asked + PAUSE_MS - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#asked = Date.now();
      this.#image.src = this.#next;
    }, wait);
  }

  /** @param {import("../api.js").Progress["parts"]} parts */
  #showParts(parts) {
    this.#bars.hidden = !parts || parts.total < 2;
    if (!parts || parts.total < 2) return;
    const words = `${parts.done} of ${parts.total} parts done, ${parts.running} running`;
    this.#bars.setAttribute("aria-label", words);
    const { percents } = parts;
    if (percents.length > BARS) {
      this.#bars.replaceChildren(words);
      return;
    }
    while (this.#bars.childElementCount > percents.length) this.#bars.lastElementChild?.remove();
    while (this.#bars.childElementCount < percents.length) this.#bars.append(el("span", { class: "part" }));
    for (const [index, value] of percents.entries()) {
      const bar = /** @type {HTMLElement} */ (this.#bars.children[index]);
      bar.style.setProperty("--part", `${value}%`);
      bar.title = `Part ${index + 1}: ${value} %`;
      bar.classList.toggle("done", value >= 100);
    }
  }
}

/** "0:00 to 1:30", where a video was not looked at from end to end. @param {Record<string, any>} options */
export function excerpt({ start = 0, end = null }) {
  if (!start && end == null) return "";
  return `${clock(start)} to ${end == null ? "the end" : clock(end)}`;
}
