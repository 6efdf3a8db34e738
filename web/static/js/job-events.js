// Live states of many jobs over one connection.
//
// A browser opens six connections to a host over HTTP/1.1, so there is one EventSource for all jobs, over a window
// of at most 64 of them: the oldest unfinished ones. As they finish, the window moves on. The stream starts with the
// present state of each job, so nothing is lost between two windows. Where a stream fails or is held back by a proxy,
// states are read one by one until the next one stands.
import { DONE, getJob, url } from "./api.js";

/** @typedef {import("./api.js").Job} Job */

const WINDOW = 64;
const REOPEN_BELOW = 32; // unfinished jobs in the window, while others wait outside
const JOIN_MS = 400; // how long new jobs are gathered before the stream is opened again with them
const SILENCE_MS = 20_000; // after this without an event, one job is asked for directly
const BACKOFF_MS = [500, 1000, 2000, 5000, 10_000, 30_000];
const POLLS_AT_ONCE = 4;

export class JobEvents {
  /** @type {Map<string, (job: Job) => void>} every unfinished job, oldest first */
  #listeners = new Map();
  /** @type {Map<string, string>} the last that is known of each job, to notice a stream that says nothing */
  #known = new Map();
  /** @type {Set<string>} the unfinished jobs that the present stream covers */
  #window = new Set();
  /** @type {EventSource | null} */
  #source = null;
  #alone;
  #failures = 0;
  #timer = 0;
  #lastEvent = 0;

  /** @param {boolean} [alone] follow one job, by its own path: whoever has its link may, also without a key */
  constructor(alone = false) {
    this.#alone = alone;
    setInterval(() => this.#checkSilence(), SILENCE_MS / 4);
    addEventListener("online", () => this.#reopen(0));
    addEventListener("pageshow", (event) => event.persisted && this.#reopen(0));
    addEventListener("pagehide", () => this.#close());
  }

  /**
   * Call `listener` with each new state of a job until it is done.
   *
   * @param {string} id
   * @param {(job: Job) => void} listener
   */
  watch(id, listener) {
    this.#listeners.set(id, listener);
    if (!this.#source || this.#window.size < WINDOW) this.#reopen(this.#source ? JOIN_MS : 0);
  }

  /** @param {string} id */
  unwatch(id) {
    this.#listeners.delete(id);
    this.#known.delete(id);
    this.#window.delete(id);
    if (!this.#listeners.size) this.#close();
    else this.#moveOn();
  }

  /** True if the stream covers this job: what is shown of its place in the queue is fresh. @param {string} id */
  covers(id) {
    return this.#window.has(id);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#source?.close();
    this.#source = null;
    this.#window.clear();
  }

  /** @param {number} delay in ms; a reopening that is already due stays as it is */
  #reopen(delay) {
    if (this.#timer) {
      if (delay > 0) return;
      clearTimeout(this.#timer);
    }
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#open();
    }, delay);
  }

  #open() {
    this.#close();
    const ids = [...this.#listeners.keys()].slice(0, WINDOW);
    if (!ids.length) return;
    this.#window = new Set(ids);
    this.#lastEvent = Date.now();
    const query = ids.map((id) => `id=${encodeURIComponent(id)}`).join("&");
    const source = new EventSource(url(this.#alone ? `/jobs/${encodeURIComponent(ids[0])}/events` : `/events?${query}`));
    this.#source = source;
    source.addEventListener("job", (event) => {
      if (source !== this.#source) return;
      this.#failures = 0;
      this.#lastEvent = Date.now();
      try {
        this.#deliver(JSON.parse(event.data));
      } catch (error) {
        console.warn("a job event could not be read", error);
      }
    });
    source.addEventListener("end", () => {
      if (source !== this.#source) return;
      source.close();
      this.#source = null;
      this.#window.clear();
      // What the stream left unfinished (a job it does not know) is asked for directly.
      if (this.#listeners.size) this.#readAll(ids).then(() => this.#reopen(0));
    });
    source.addEventListener("error", () => {
      if (source !== this.#source) return;
      // Ours, not EventSource's own reconnecting, which gives up for good after an HTTP error.
      this.#close();
      const delay = BACKOFF_MS[Math.min(this.#failures++, BACKOFF_MS.length - 1)];
      this.#readAll(ids).then(() => this.#listeners.size && this.#reopen(delay));
    });
  }

  /** @param {Job} job */
  #deliver(job) {
    const listener = this.#listeners.get(job.id);
    if (!listener) return;
    this.#known.set(job.id, fingerprint(job));
    if (DONE.has(job.state)) {
      this.#listeners.delete(job.id);
      this.#known.delete(job.id);
      this.#window.delete(job.id);
    }
    listener(job);
    if (DONE.has(job.state)) this.#moveOn();
  }

  #moveOn() {
    if (!this.#listeners.size) this.#close();
    else if (this.#window.size < REOPEN_BELOW && this.#listeners.size > this.#window.size) this.#reopen(JOIN_MS);
  }

  /** @param {string[]} ids */
  async #readAll(ids) {
    const left = ids.filter((id) => this.#listeners.has(id));
    const readers = Array.from({ length: POLLS_AT_ONCE }, async () => {
      for (let id = left.shift(); id !== undefined; id = left.shift()) {
        try {
          this.#deliver(await getJob(id));
        } catch {
          left.length = 0; // the server is away: the next attempt will tell
        }
      }
    });
    await Promise.all(readers);
  }

  async #checkSilence() {
    if (!this.#source || document.hidden || Date.now() - this.#lastEvent < SILENCE_MS) return;
    const [id] = this.#window;
    if (id === undefined) return;
    this.#lastEvent = Date.now();
    const before = this.#known.get(id);
    try {
      const job = await getJob(id);
      if (fingerprint(job) === before) return;
      this.#deliver(job);
    } catch {
      // fall through: open again
    }
    const behind = [...this.#window];
    this.#close();
    this.#readAll(behind).then(() => this.#listeners.size && this.#reopen(0));
  }
}

/** @param {Job} job */
function fingerprint(job) {
  return JSON.stringify([job.state, job.position, job.progress]);
}
