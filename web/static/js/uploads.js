// Files on their way to the server: Dropzone does the dropping, folders and sending; here are the rules around it.
import { Dropzone } from "../vendor/dropzone/dropzone.mjs";
import { errorOf, url } from "./api.js";
import { mayMove } from "./video/options.js";

/**
 * @typedef {File & {status: string, fullPath?: string, webkitRelativePath?: string, upload: {progress: number, bytesSent: number, total: number}, attempts?: number, clutter?: boolean, accepted?: boolean, options?: Record<string, string>}} UploadFile
 *
 * @typedef {object} UploadListener
 * @property {(file: UploadFile) => void} added
 * @property {(file: UploadFile) => void} progress
 * @property {(file: UploadFile, jobs: any[]) => void} sent the jobs of the server's answer, one for each model
 * @property {(file: UploadFile, seconds: number, busy: boolean) => void} waiting it will be tried again by itself
 * @property {(file: UploadFile, error: {code: string, message: string}) => void} refused
 * @property {(count: number) => void} skipped files of a folder that are neither pictures nor videos
 */

const PARALLEL = 3; // of the browser's six connections; one more is the event stream
const MAX_WAIT_S = 60;
const MAX_ATTEMPTS = 8; // while the server is away; a full queue (429) is waited for without end
const NOT_MEDIA = /\.(txt|md|pdf|docx?|xlsx?|json|xml|csv|html?|zip|tar|gz|ini|db|log|py|js|css)$/i;

class Intake extends Dropzone {
  /**
   * Dropzone's own check, replaced: what a file is, the server finds out from its content.
   *
   * @param {UploadFile} file
   * @param {(error?: any) => void} done
   */
  accept(file, done) {
    if (file.clutter) return;
    // One limit for photos, another for videos: the server knows which it is, here the larger one holds where it may be either.
    const most = mayMove(file) ? this.options.maxFilesize : this.options.maxPhotosize;
    const maxBytes = most * 1024 * 1024;
    if (file.size === 0) done({ error: { code: "empty_file", message: "This file is empty." } });
    else if (file.size > maxBytes) {
      done({ error: { code: "too_large", message: `This file has ${(file.size / 1048576).toFixed(1)} MB; at most ${most} MB can be sent.` } });
    } else done();
  }

  /** @param {UploadFile} file */
  addFile(file) {
    if (file) super.addFile(file);
  }
}

/** @param {File & {fullPath?: string}} file */
function isClutter(file) {
  const inFolder = file.fullPath || file.webkitRelativePath;
  if (!inFolder) return false;
  if (file.name.startsWith(".") || NOT_MEDIA.test(file.name)) return true;
  return file.type !== "" && !/^(image|video)\//.test(file.type);
}

export class Uploads {
  #listener;
  #options;
  #failures = 0;
  #pausedUntil = 0;
  #skipped = 0;
  /** @type {any} */
  #dropzone;

  /**
   * @param {object} settings
   * @param {number} settings.maxUploadMb of a photo
   * @param {number} settings.maxVideoMb
   * @param {string} settings.accept MIME types for the file chooser
   * @param {(file: File) => Record<string, string>} settings.options the options for a file that is added now
   * @param {UploadListener} listener
   */
  constructor({ maxUploadMb, maxVideoMb, accept, options }, listener) {
    this.#listener = listener;
    this.#options = options;
    const dropzone = new Intake(document.body, {
      url: url("/upload"),
      clickable: "#dropzone .dz-message",
      acceptedFiles: `image/*,video/*${accept ? `,${accept}` : ""}`,
      maxFilesize: Math.max(maxUploadMb, maxVideoMb),
      maxPhotosize: maxUploadMb,
      parallelUploads: PARALLEL,
      createImageThumbnails: false,
      disablePreviews: true,
      previewsContainer: false,
      params: (/** @type {UploadFile[]} */ [file]) => file.options ?? {},
      init() {},
    });
    this.#dropzone = dropzone;
    dropzone.on("addedfile", (file) => this.#added(file));
    dropzone.on("uploadprogress", (file) => file.status === Dropzone.UPLOADING && listener.progress(file));
    dropzone.on("success", (file, answer) => this.#sent(file, answer));
    dropzone.on("error", (file, message, xhr) => this.#failed(file, message, xhr));
    this.#listenToFolder();
    document.addEventListener("paste", (event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length && !isTyping(event.target)) this.add(files);
    });
    this.#listenToDrag();
  }

  /** @param {File[]} files */
  add(files) {
    for (const file of files) this.#dropzone.addFile(file);
  }

  /** Stops sending a file, or forgets it. @param {UploadFile} file */
  remove(file) {
    this.#dropzone.removeFile(file);
  }

  /** Sends a file again. @param {UploadFile} file */
  retry(file) {
    file.attempts = 0;
    if (!this.#dropzone.files.includes(file)) this.#dropzone.files.push(file);
    this.#enqueue(file);
  }

  #listenToFolder() {
    const input = /** @type {HTMLInputElement | null} */ (document.getElementById("folder-input"));
    const button = document.getElementById("pick-folder");
    if (!input || !button) return;
    if (!("webkitdirectory" in input)) {
      button.hidden = true;
      return;
    }
    input.webkitdirectory = true;
    button.addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      this.add([...(input.files ?? [])]);
      input.value = "";
    });
  }

  /** The veil over the page while something hovers over it; enter and leave come for every element on the way. */
  #listenToDrag() {
    let depth = 0;
    const show = () => document.body.classList.toggle("dragging", depth > 0);
    const carriesFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
    addEventListener("dragenter", (event) => carriesFiles(event) && (depth++, show()), true);
    addEventListener("dragleave", (event) => carriesFiles(event) && ((depth = Math.max(0, depth - 1)), show()), true);
    addEventListener("drop", () => ((depth = 0), show()), true);
    // Beside the body (a short page): never let the browser leave the page for the picture.
    for (const name of ["dragover", "drop"]) {
      addEventListener(name, (event) => carriesFiles(/** @type {DragEvent} */ (event)) && event.preventDefault());
    }
  }

  /** @param {UploadFile} file */
  #added(file) {
    if (isClutter(file)) {
      // Dropzone is in the middle of adding it: `accept` leaves it alone, the list loses it later.
      file.clutter = true;
      if (this.#skipped++ === 0) {
        setTimeout(() => {
          const count = this.#skipped;
          this.#skipped = 0;
          this.#dropzone.files = this.#dropzone.files.filter((/** @type {any} */ other) => !other.clutter);
          this.#listener.skipped(count);
        }, 300);
      }
      return;
    }
    file.attempts = 0;
    file.options = this.#options(file);
    this.#listener.added(file);
  }

  /** @param {UploadFile} file @param {any} answer */
  #sent(file, answer) {
    this.#failures = 0;
    // Dropzone walks over its list for every progress event: finished files must not stay in it.
    this.#forget(file);
    const jobs = answer && typeof answer === "object" ? (answer.jobs ?? (answer.id ? [answer] : [])) : [];
    if (jobs.length) this.#listener.sent(file, jobs);
    else this.#listener.refused(file, { code: "bad_answer", message: "The server's answer could not be read." });
  }

  /** @param {UploadFile} file @param {any} message @param {XMLHttpRequest | undefined} xhr */
  #failed(file, message, xhr) {
    if (file.status === Dropzone.CANCELED || file.clutter) return;
    const status = xhr?.status ?? -1; // -1: refused before sending
    const attempts = (file.attempts = (file.attempts ?? 0) + 1);
    const busy = status === 429;
    if (busy || ((status === 503 || status === 0) && attempts < MAX_ATTEMPTS)) {
      const asked = Number(xhr?.getResponseHeader("Retry-After")) || 0;
      this.#pause(asked);
      this.#listener.waiting(file, Math.ceil((this.#pausedUntil - Date.now()) / 1000), busy);
      setTimeout(() => this.#enqueue(file), 0);
      return;
    }
    this.#forget(file);
    this.#listener.refused(file, status < 0 ? message.error : errorOf(status, message));
  }

  /** Holds all sending: what the server said to one file holds for the others too. @param {number} asked seconds */
  #pause(asked) {
    if (this.#pausedUntil > Date.now()) return;
    const backoff = Math.min(MAX_WAIT_S, 2 ** this.#failures++);
    const seconds = Math.min(MAX_WAIT_S, Math.max(asked, backoff)) * (1 + Math.random() * 0.2);
    this.#pausedUntil = Date.now() + seconds * 1000;
    this.#dropzone.options.autoProcessQueue = false;
    setTimeout(() => {
      this.#dropzone.options.autoProcessQueue = true;
      this.#dropzone.processQueue();
    }, seconds * 1000);
  }

  /** @param {UploadFile} file */
  #enqueue(file) {
    if (!this.#dropzone.files.includes(file) || file.status === Dropzone.CANCELED) return;
    Object.assign(file.upload, { progress: 0, bytesSent: 0, total: file.size });
    file.status = Dropzone.ADDED;
    file.accepted = true;
    this.#dropzone.enqueueFile(file);
  }

  /** @param {UploadFile} file */
  #forget(file) {
    this.#dropzone.files = this.#dropzone.files.filter((/** @type {any} */ other) => other !== file);
  }
}

/**
 * The same content as a file of its own, which can be sent again alone.
 *
 * @param {UploadFile} file one that was sent
 * @returns {UploadFile}
 */
export function twinOf(file) {
  const twin = new File([file], file.name, { type: file.type, lastModified: file.lastModified });
  const { fullPath, webkitRelativePath, status, upload } = file;
  return Object.assign(twin, { fullPath: fullPath || webkitRelativePath, status, upload: { ...upload }, accepted: true });
}

/** @param {EventTarget | null} target */
function isTyping(target) {
  return target instanceof HTMLElement && (target.isContentEditable || /^(input|textarea|select)$/i.test(target.tagName));
}
