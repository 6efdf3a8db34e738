// The JSON API of the service, as far as the page uses it.

/**
 * @typedef {object} Detection
 * @property {string} label
 * @property {number} class_id
 * @property {number} score
 * @property {[number, number, number, number]} box left, top, right, bottom in pixels of the oriented original
 * @property {import("./masks.js").Rle | null} [mask]
 * @property {number | null} [mask_percent] of the picture
 *
 * @typedef {{label: string, class_id: number, score: number}} Classification
 *
 * @typedef {object} Result
 * @property {"detection" | "segmentation" | "classification"} [task]
 * @property {Detection[]} detections
 * @property {Classification[]} [classes] of a classifier, best first
 * @property {Classification | null} [explained] what the heat map shows
 * @property {number | null} [mask_percent] of the picture, all masks together
 * @property {Record<string, number>} counts
 * @property {string} text
 * @property {string[]} notes
 * @property {Record<string, number>} timings_ms
 * @property {{filename: string, content_type: string, bytes: number, sha256: string, width: number, height: number, format: string}} source
 * @property {{name: string, family: string, engine: string, precision: string, input_size: [number, number]}} model
 * @property {Record<string, any>} options
 *
 * @typedef {{id: number, label: string, class_id: number, score: number, first: number, last: number, frames: number}} Track times in seconds
 * @typedef {{index: number, time: number, detections: (Detection & {track_id?: number | null})[]}} FrameDetections
 *
 * @typedef {object} VideoResult
 * @property {"video"} kind
 * @property {number} frames decoded
 * @property {number} analysed frames looked at
 * @property {number} fps of the drawn video
 * @property {number} duration seconds
 * @property {Record<string, number>} counts different objects
 * @property {string} text
 * @property {Track[]} tracks
 * @property {{seconds: number, most: Record<string, number[]>}} timeline
 * @property {{line: number[], to_right: Record<string, number>, to_left: Record<string, number>} | null} [line]
 * @property {{zone: [number, number][], entered: Record<string, number>, most: number} | null} [zone]
 * @property {string[]} notes
 * @property {Record<string, number>} timings_ms
 * @property {Result["source"] & {duration: number, fps: number, codec: string, audio?: string | null}} source
 * @property {Result["model"]} model
 * @property {Record<string, any>} options
 * @property {Record<string, any>} video_options
 *
 * @typedef {object} Progress
 * @property {string} phase
 * @property {number} percent
 * @property {number | null} [frames] of a video: done
 * @property {number | null} [fps] frames a second
 * @property {number | null} [seconds_left]
 * @property {{done: number, running: number, total: number, percents: number[]} | null} [parts] of a video that is split
 * @property {number | null} [live] changes with each new picture behind the link of that name
 *
 * @typedef {object} Job
 * @property {string} id
 * @property {"queued" | "running" | "finished" | "failed" | "canceled" | "gone"} state "gone": the page's own, for a 404
 * @property {string} [filename]
 * @property {string} [model]
 * @property {number | null} [position]
 * @property {"image" | "video"} [kind]
 * @property {Progress | null} [progress]
 * @property {string | null} [created_at]
 * @property {string | null} [finished_at]
 * @property {string | null} [expires_at]
 * @property {string | null} [deadline]
 * @property {{code: string, message: string} | null} [error]
 * @property {any} [result] a Result or, of a video, a VideoResult
 * @property {Record<string, string>} [colours] label to "#rrggbb"
 * @property {Record<string, string>} [nouns] label to what its count is said with: "people" for 4 of "person"
 * @property {Record<string, string | null>} [links]
 */

const root = document.documentElement.dataset.root ?? "";

/** The states that do not change any more. */
export const DONE = new Set(["finished", "failed", "canceled", "gone"]);

/** What the server (or the lack of one) said instead of an answer. */
export class ApiError extends Error {
  /**
   * @param {number} status 0: no answer at all
   * @param {string} code
   * @param {string} message
   */
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/**
 * The address of a path of this service, behind whatever prefix it lives.
 *
 * @param {string} path begins with a slash
 */
export function url(path) {
  return root + path;
}

/** The address that one would send to a friend. @param {string} id */
export function shareUrl(id) {
  return new URL(url(`/view/${encodeURIComponent(id)}`), location.href).href;
}

/** The page of several jobs side by side. @param {string[]} ids */
export function compareUrl(ids) {
  return url(`/compare?ids=${ids.map(encodeURIComponent).join(",")}`);
}

/** The same result file, but as a download. @param {string} link */
export function download(link) {
  return `${link}${link.includes("?") ? "&" : "?"}download=1`;
}

/**
 * The error that an answer holds: `{"error": {code, message}}`, or what its status says.
 *
 * @param {number} status
 * @param {any} body
 */
export function errorOf(status, body) {
  const error = body && typeof body === "object" ? body.error : null;
  if (error && typeof error.code === "string") return new ApiError(status, error.code, String(error.message ?? ""));
  if (status === 0) return new ApiError(0, "unreachable", "The server cannot be reached.");
  return new ApiError(status, `http_${status}`, `The server answered with ${status}.`);
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<any>} the JSON; null for an empty answer
 */
export async function ask(path, init = {}) {
  let response;
  try {
    response = await fetch(url(path), { ...init, headers: { Accept: "application/json", ...init.headers } });
  } catch {
    throw errorOf(0, null);
  }
  const text = await response.text();
  let body = null;
  try {
    body = text ? JSON.parse(text) : null;
  } catch {
    if (response.ok) throw new ApiError(response.status, "bad_answer", "The server's answer could not be read.");
  }
  // /readyz says what is wrong in the body of a 503.
  if (!response.ok && !(response.status === 503 && body?.checks)) throw errorOf(response.status, body);
  return body;
}

/** @param {string} id @returns {Promise<Job>} */
export async function getJob(id) {
  try {
    return await ask(`/jobs/${encodeURIComponent(id)}`);
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 410)) return { id, state: "gone" };
    throw error;
  }
}

/** End a job that waits or runs. @param {string} id @returns {Promise<Job>} a running one may still be running */
export function cancelJob(id) {
  return ask(`/jobs/${encodeURIComponent(id)}/cancel`, { method: "POST" });
}

/** A failed job once more, as it was. @param {string} id @returns {Promise<Job>} */
export function retryJob(id) {
  return ask(`/jobs/${encodeURIComponent(id)}/retry`, { method: "POST" });
}

/** @param {string} id @param {RequestInit} [init] */
export async function deleteJob(id, init = {}) {
  try {
    await ask(`/jobs/${encodeURIComponent(id)}`, { method: "DELETE", ...init });
  } catch (error) {
    if (!(error instanceof ApiError && error.status === 404)) throw error;
  }
}

/**
 * @param {number} limit
 * @param {string | null} [cursor]
 * @returns {Promise<{jobs: Job[], next: string | null}>}
 */
export function listJobs(limit, cursor = null) {
  return ask(`/jobs?limit=${limit}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`);
}

/**
 * A page of what is in the frames of a video.
 *
 * @param {string} id
 * @param {number} start number of a frame in the original; the page begins there or after
 * @param {number} limit
 * @returns {Promise<{frames: FrameDetections[], next: number | null}>}
 */
export function getFrames(id, start, limit) {
  return ask(`/jobs/${encodeURIComponent(id)}/frames?start=${start}&limit=${limit}`);
}

/**
 * The file of a job once more, with other options.
 *
 * @param {string} id
 * @param {Record<string, string>} options those that are to be others
 * @returns {Promise<any>} as of an upload
 */
export function lookAgain(id, options) {
  return ask(`/jobs/${encodeURIComponent(id)}/again`, { method: "POST", body: new URLSearchParams(options) });
}

export const getModels = () => ask("/models");
export const getCounts = () => ask("/counts");
export const getReady = () => ask("/readyz");
