// The numbers of the objects over the playing video: they come about after it is drawn, so they are not in the picture.
// Over a video without boxes, the boxes too.
import { el } from "../dom.js";
import { textOn } from "../overlay.js";

/**
 * @typedef {import("../api.js").Job} Job
 * @typedef {import("../api.js").FrameDetections} FrameDetections
 */

export class Numbers {
  #layer = el("div", { class: "numbers", "aria-hidden": "true" });
  /** @type {HTMLElement[]} used again for each frame */
  #slots = [];
  #source;
  #colours;
  #boxes;

  /**
   * @param {HTMLElement} player the box that holds the video; the layer is put into it
   * @param {Job} job a finished video
   * @param {boolean} boxes whether they are to be drawn too
   */
  constructor(player, job, boxes) {
    this.#source = /** @type {import("../api.js").VideoResult} */ (job.result).source;
    this.#colours = job.colours ?? {};
    this.#boxes = boxes;
    this.#layer.classList.toggle("boxes", boxes);
    player.append(this.#layer);
  }

  /** @param {FrameDetections | null} frame null: nothing @param {Set<string>} hidden labels that are switched off */
  draw(frame, hidden) {
    const { width, height } = this.#source;
    let used = 0;
    for (const { label, box, track_id: id } of frame?.detections ?? []) {
      if (hidden.has(label) || (id == null && !this.#boxes)) continue;
      const slot = (this.#slots[used++] ??= this.#layer.appendChild(el("div", { class: "numbered" }, el("span", { class: "tag" }))));
      const colour = this.#colours[label] ?? "#ffffff";
      const [left, top, right, bottom] = box;
      slot.style.setProperty("--class-colour", colour);
      slot.style.setProperty("--tag-text", textOn(colour));
      slot.style.left = `${(100 * left) / width}%`;
      slot.style.top = `${(100 * top) / height}%`;
      slot.style.width = `${(100 * (right - left)) / width}%`;
      slot.style.height = `${(100 * (bottom - top)) / height}%`;
      const text = [this.#boxes && label, id != null && `#${id}`].filter(Boolean).join(" ");
      const tag = /** @type {Element} */ (slot.firstElementChild);
      if (tag.textContent !== text) tag.textContent = text;
      slot.hidden = false;
    }
    for (let index = used; index < this.#slots.length; index++) this.#slots[index].hidden = true;
  }
}
