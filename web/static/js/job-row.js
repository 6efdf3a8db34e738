// One row of the list on the start page: a file from the moment it is dropped to its result.
import { shareUrl } from "./api.js";
import { byId, el, icon, iconButton, iconLink } from "./dom.js";
import { isOfTheService } from "./failures.js";
import { fileSize, phaseText } from "./format.js";
import { labelItems } from "./labels.js";
import { playOnHover } from "./preview.js";
import { shareLink } from "./share.js";
import { firstFrame } from "./video/first-frame.js";
import { progressText } from "./video/running.js";

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {import("./uploads.js").UploadFile} UploadFile
 * @typedef {"waiting" | "uploading" | "busy" | "queued" | "running" | "finished" | "failed" | "canceled"} RowState
 */

/** @type {Record<RowState, string>} */
const STATE_TEXT = {
  waiting: "Waiting",
  uploading: "Uploading",
  busy: "Trying again soon",
  queued: "In the queue",
  running: "Working",
  finished: "Done",
  failed: "Failed",
  canceled: "Canceled",
};

/** The file is still here: what is gone there, or was never taken, can be sent again. */
const WORTH_SENDING_AGAIN = new Set(["queue_full", "unreachable", "bad_answer", "gone", "input_gone"]);

export class JobRow {
  /** @type {RowState} */
  state = "waiting";
  /** @type {string | null} */
  id = null;
  /** How much of its way the file has gone, in [0, 1]. */
  fraction = 0;
  bytesSent = 0;
  isVideo = false;
  /** The model, where several look at the same file. */
  model = "";
  #compare = "";
  #preview = "";
  #handlers;

  /**
   * @param {UploadFile} file
   * @param {{remove: (row: JobRow) => void, retry: (row: JobRow) => void}} handlers
   */
  constructor(file, handlers) {
    this.file = file;
    this.name = file.fullPath || file.webkitRelativePath || file.name || "Pasted picture";
    this.isVideo = file.type.startsWith("video/"); // until the server has said what it is
    this.#handlers = handlers;
    const template = /** @type {HTMLTemplateElement} */ (byId("row-template"));
    const content = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    this.element = /** @type {HTMLElement} */ (content.firstElementChild);
    const find = (/** @type {string} */ selector) => /** @type {any} */ (this.element.querySelector(selector));
    this.parts = {
      thumb: /** @type {HTMLElement} */ (find(".thumb")),
      image: /** @type {HTMLImageElement} */ (find("img")),
      name: /** @type {HTMLElement} */ (find(".row-name")),
      model: /** @type {HTMLElement} */ (find(".row-model")),
      chip: /** @type {HTMLElement} */ (find(".chip")),
      progress: /** @type {HTMLProgressElement} */ (find(".row-progress")),
      text: /** @type {HTMLElement} */ (find(".row-text")),
      labels: /** @type {HTMLElement} */ (find(".labels")),
      actions: /** @type {HTMLElement} */ (find(".row-actions")),
    };
    this.parts.name.textContent = this.name;
    this.parts.name.title = this.name;
    this.parts.progress.setAttribute("aria-label", `Progress of ${this.name}`);
    this.#showPreview();
    this.setWaiting();
  }

  get done() {
    return this.state === "finished" || this.state === "failed" || this.state === "canceled";
  }

  /** One of several models for this file. @param {string} model @param {string} compare address of all answers */
  setModel(model, compare) {
    this.model = this.parts.model.textContent = model;
    this.parts.model.hidden = false;
    this.#compare = compare;
  }

  setWaiting() {
    this.#set("waiting", `${fileSize(this.file.size)}`, 0);
    this.#actions([this.#removeButton("close", "Do not send")]);
  }

  setUploading() {
    const { progress, bytesSent } = this.file.upload;
    this.bytesSent = Math.min(bytesSent, this.file.size);
    const first = this.state !== "uploading";
    this.#set("uploading", progress >= 100 ? "Sent; the server is checking it" : `${fileSize(this.bytesSent)} of ${fileSize(this.file.size)}`, progress / 200);
    this.#progress(progress >= 100 ? null : progress);
    if (first) this.#actions([this.#removeButton("close", "Stop sending")]);
  }

  /** @param {number} seconds @param {boolean} busy the queue is full; else the server is away */
  setBusy(seconds, busy) {
    this.bytesSent = 0;
    this.#set("busy", `${busy ? "The server is busy" : "The server cannot be reached"}: trying again by itself in ${seconds} s.`, 0);
    this.#progress(undefined);
  }

  /** @param {{code: string, message: string}} error */
  setRefused(error) {
    this.#fail(error);
  }

  /**
   * @param {Job} job
   * @param {boolean} [fresh] whether its place in the queue is of now
   */
  setJob(job, fresh = true) {
    if (job.kind) this.isVideo = job.kind === "video";
    if (this.id !== job.id) {
      this.id = job.id;
      this.bytesSent = this.file.size;
      this.#link();
    }
    if (job.state === "queued") {
      const place = fresh && job.position ? `Number ${job.position} in the queue` : "In the queue";
      this.#set("queued", place, 0.5);
      this.#progress(undefined);
      this.#actions([this.#shareButton(), this.#removeButton("close", "Cancel")]);
    } else if (job.state === "running") {
      const part = job.progress?.percent ?? null;
      this.#set("running", this.isVideo ? progressText(job.progress) : phaseText(job.progress?.phase), 0.55 + (part ?? 0) / 250);
      this.#progress(part);
      this.#actions([this.#shareButton(), this.#removeButton("close", "Cancel")]);
    } else if (job.state === "finished") {
      this.#finish(job);
    } else if (job.state === "canceled") {
      this.#set("canceled", "This was canceled.", 1);
      this.#progress(undefined);
      this.#actions([this.#retryButton(), this.#removeButton("close", "Remove from the list")]);
    } else if (job.state === "gone") {
      this.#fail({ code: "gone", message: "The server does not know this file any more." });
    } else {
      this.#fail(job.error ?? { code: "internal", message: "The server could not work on this file." });
    }
  }

  /** Gives back what the browser holds for the preview. */
  release() {
    if (this.#preview) URL.revokeObjectURL(this.#preview);
    this.#preview = "";
  }

  #showPreview() {
    const { image, thumb } = this.parts;
    image.addEventListener("load", () => (image.hidden = false));
    image.addEventListener("error", () => (image.hidden = true));
    if (this.isVideo) {
      thumb.querySelector(".thumb-icon")?.replaceWith(icon("video", "icon thumb-icon"));
      firstFrame(this.file).then((picture) => {
        if (!picture) return;
        if (this.done) URL.revokeObjectURL(picture); // it has a better one by now
        else this.#showOwn(picture);
      });
    } else if (!this.file.type || this.file.type.startsWith("image/")) {
      this.#showOwn(URL.createObjectURL(this.file));
    }
  }

  /** @param {string} address of a picture that this browser has made */
  #showOwn(address) {
    this.#preview = address;
    this.parts.image.src = address;
    this.parts.image.hidden = false; // what is hidden is not loaded
  }

  #link() {
    const href = shareUrl(/** @type {string} */ (this.id));
    this.parts.name.replaceChildren(el("a", { href, text: this.name }));
    const cover = el("a", { href, tabindex: "-1", "aria-hidden": "true" });
    cover.append(...this.parts.thumb.childNodes);
    this.parts.thumb.replaceChildren(cover);
  }

  /** @param {Job} job */
  #finish(job) {
    const { image, labels } = this.parts;
    const links = job.links ?? {};
    this.#set("finished", job.result?.text ?? "", 1);
    this.#progress(undefined);
    labels.replaceChildren(...labelItems(job));
    labels.hidden = !labels.childElementCount;
    if (links.thumbnail) {
      image.addEventListener("load", () => this.release(), { once: true });
      image.alt = job.result?.text ?? "";
      image.src = links.thumbnail;
      image.hidden = false;
      if (links.preview) playOnHover(this.element, image, links.preview);
    }
    this.#actions([
      iconLink("eye", `View ${this.name}`, shareUrl(job.id)),
      this.#compare && iconLink("columns", `Compare the answers to ${this.name}`, this.#compare),
      links.video && iconLink("video", `Drawn video of ${this.name}`, links.video, { target: "_blank" }),
      links.image && !this.isVideo && iconLink("image", `Drawn picture of ${this.name}`, links.image, { target: "_blank" }),
      links.json && iconLink("braces", `JSON of ${this.name}`, links.json, { target: "_blank" }),
      this.#shareButton(),
      this.#removeButton("trash", "Delete"),
    ]);
  }

  /** @param {{code: string, message: string}} error */
  #fail(error) {
    this.#set("failed", "", 1);
    this.parts.text.append(`${error.message} `, el("code", { text: error.code }));
    this.#progress(undefined);
    this.#actions([(isOfTheService(error.code) || WORTH_SENDING_AGAIN.has(error.code)) && this.#retryButton(), this.#removeButton("close", "Remove from the list")]);
  }

  /** @param {RowState} state @param {string} text @param {number} fraction */
  #set(state, text, fraction) {
    const { chip, text: line } = this.parts;
    this.fraction = fraction;
    if (line.textContent !== text) line.textContent = text;
    if (this.state === state && chip.textContent) return;
    this.state = state;
    this.element.dataset.state = state;
    chip.textContent = STATE_TEXT[state];
    chip.className = `chip state ${state}`;
    if (state !== "finished") this.parts.labels.hidden = true;
  }

  /** @param {number | null | undefined} value percent; null: under way, nobody knows how far; undefined: no bar */
  #progress(value) {
    const { progress } = this.parts;
    progress.hidden = value === undefined;
    if (value === null) progress.removeAttribute("value");
    else if (value !== undefined) progress.value = value;
  }

  /** @param {(HTMLElement | null | undefined | false | "")[]} buttons */
  #actions(buttons) {
    const { actions } = this.parts;
    const wanted = /** @type {HTMLElement[]} */ (buttons.filter(Boolean));
    // Replacing a focused button would throw the keyboard back to the top of the page.
    const names = (/** @type {Iterable<Element>} */ list) => [...list].map((button) => button.getAttribute("aria-label")).join("\n");
    if (names(actions.children) === names(wanted)) return;
    const hadFocus = actions.contains(document.activeElement);
    actions.replaceChildren(...wanted);
    if (hadFocus) wanted.at(-1)?.focus();
  }

  /** @param {string} image @param {string} verb */
  #removeButton(image, verb) {
    return iconButton(image, `${verb}: ${this.name}`, () => this.#handlers.remove(this), "danger");
  }

  #retryButton() {
    return el("button", { type: "button", class: "button small", "aria-label": `Try again: ${this.name}`, on: { click: () => this.#handlers.retry(this) } }, icon("retry"), "Try again");
  }

  #shareButton() {
    return iconButton("link", `Copy the link to ${this.name}`, () => shareLink(shareUrl(/** @type {string} */ (this.id)), this.name));
  }
}
