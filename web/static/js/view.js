// The page of one job: its live state until it is done, then what was found.
import { startAgain } from "./again.js";
import { deleteJob, DONE, getJob, lookAgain, retryJob, shareUrl, url } from "./api.js";
import { byId, el, icon } from "./dom.js";
import { advice, isOfTheService } from "./failures.js";
import { phaseText } from "./format.js";
import { JobEvents } from "./job-events.js";
import { showPhoto } from "./photo.js";
import { shareLink } from "./share.js";
import { ask, toast } from "./toast.js";
import { progressText, RunningVideo } from "./video/running.js";
import { showVideo } from "./video/show.js";

/** @typedef {import("./api.js").Job} Job */

const noun = byId("view").dataset.kind === "video" ? "video" : "picture";
const running = noun === "video" ? new RunningVideo() : null;
/** False for who has only the link. */
const mayAct = "mayAct" in byId("view").dataset;
/** @type {JobEvents | null} */
let events = null;

/** @param {Job} job @param {boolean} sure no question first: there is no result to lose */
async function remove(job, sure = false) {
  if (!sure && !(await ask(`Delete this ${noun}?`, `The ${noun} and its result are removed from the server, and this link stops working for everybody.`, "Delete"))) return;
  try {
    await deleteJob(job.id);
    location.assign(url("/"));
  } catch (error) {
    toast(`It could not be deleted: ${/** @type {Error} */ (error).message}`);
  }
}

/** A press is being seen to: another one, of the same double click, would make a second job. */
let trying = false;
addEventListener("pageshow", () => (trying = false)); // back from the new job

/**
 * A failed job once more, behind the same link; one that is late as a new one, without a limit.
 *
 * @param {Job} job
 * @param {boolean} [late]
 */
async function tryAgain(job, late = job.error?.code === "expired") {
  if (trying) return;
  trying = true;
  try {
    if (late) return location.assign((await lookAgain(job.id, {})).url);
    follow(await retryJob(job.id));
  } catch (error) {
    const { code, message } = /** @type {import("./api.js").ApiError} */ (error);
    if (code === "input_gone") show({ ...job, error: { code, message } });
    else if (code === "not_found") show({ ...job, state: "gone" });
    else if (code === "conflict" && !late) return afterConflict(job, message);
    else toast(`It could not be tried again: ${message}`, { ms: 8000 });
  }
  trying = false;
}

/** Somebody else was faster; or it failed of something else, and its limit has passed by now. @param {Job} job @param {string} message */
async function afterConflict(job, message) {
  const now = await getJob(job.id).catch(() => null);
  trying = false;
  if (now && now.state !== "failed") follow(now);
  else if (now?.deadline) await tryAgain(now, true);
  else toast(message, { ms: 8000 });
}

/** @param {string} name @param {string} text @param {() => void} onClick @param {string} [className] */
const button = (name, text, onClick, className = "") => el("button", { type: "button", class: `button ${className}`, on: { click: onClick } }, icon(name), text);

/** Deletes the job, whatever that is called now; none for who has only the link. @param {Job} job @param {string} name @param {string} text @param {boolean} [sure] */
const removal = (job, name, text, sure = false) => (mayAct ? [button(name, text, () => remove(job, sure), "quiet danger")] : []);

/** @param {string} image @param {string} title @param {string} text @param {string} [code] */
function pending(image, title, text, code) {
  byId("pending").hidden = false;
  byId("pending-icon").replaceChildren(icon(image));
  if (byId("pending-title").textContent !== title) byId("pending-title").textContent = title;
  if (byId("pending-text").dataset.shown !== text) {
    byId("pending-text").dataset.shown = text;
    byId("pending-text").replaceChildren(text, ...(code ? [" ", el("code", { text: code })] : []));
  }
}

/** @param {Job} job */
function showPending(job) {
  const bar = /** @type {HTMLProgressElement} */ (byId("pending-bar"));
  const actions = byId("pending-actions");
  byId("pending").dataset.state = job.state;
  byId("shown").hidden = true;
  bar.hidden = DONE.has(job.state);
  if (job.state !== "running") running?.end();
  if (job.state === "queued") {
    pending("clock", "In the queue", job.position ? `This ${noun} is number ${job.position}. The page shows the result by itself.` : "The page shows the result by itself.");
    bar.removeAttribute("value");
  } else if (job.state === "running") {
    pending("eye", `Looking at the ${noun}`, noun === "video" ? progressText(job.progress) : phaseText(job.progress?.phase));
    running?.update(job);
    if (job.progress) bar.value = job.progress.percent;
    else bar.removeAttribute("value");
  } else if (job.state === "failed") {
    pending("alert", "This did not work", job.error?.message ?? `The server could not work on this ${noun}.`, job.error?.code);
  } else if (job.state === "canceled") {
    pending("close", "This was canceled", `Nobody has looked at this ${noun}.`);
  } else {
    pending("alert", "There is nothing here any more", `The ${noun} was deleted, or its time was up.`);
  }
  const { code } = job.error ?? {};
  const failed = job.state === "failed";
  const retry = failed && mayAct && (isOfTheService(code) || code === "expired");
  byId("pending-advice").textContent = failed ? advice(code) : "";
  byId("pending-advice").hidden = !byId("pending-advice").textContent;
  const kind = DONE.has(job.state) ? [job.state, code].join(" ") : "under way";
  if (actions.dataset.kind === kind) return;
  actions.dataset.kind = kind;
  const again = el("a", { class: retry ? "button" : "button primary", href: url("/"), text: code === "input_gone" ? "Upload it again" : "Upload another" });
  if (retry) actions.replaceChildren(button("retry", "Try again", () => tryAgain(job), "primary"), again, ...removal(job, "trash", "Delete", true));
  else if (!DONE.has(job.state)) actions.replaceChildren(button("link", "Copy the link", () => shareLink(shareUrl(job.id), job.filename ?? "")), ...removal(job, "close", "Cancel", true));
  else if (job.state === "gone") actions.replaceChildren(again);
  else actions.replaceChildren(again, ...removal(job, "trash", "Delete", true));
}

/** @param {Job} job */
function showActions(job) {
  const text = job.result?.text ?? "";
  byId("actions").replaceChildren(button("link", "Share", () => shareLink(shareUrl(job.id), text)), ...removal(job, "trash", "Delete"));
}

/** @param {Job} job */
function showResult(job) {
  // What the file is may have come out only when a worker read it; the page has the parts of one kind.
  if (job.kind && job.kind !== byId("view").dataset.kind) return location.reload();
  running?.end();
  byId("pending").hidden = true;
  byId("shown").hidden = false;
  byId("sentence").textContent = job.result.text;
  document.title = `${job.result.text} · ${job.filename ?? ""} · Dropsight`;
  showActions(job);
  if (job.kind === "video") showVideo(job);
  else showPhoto(job);
  startAgain(job);
}

/** @param {Job} job */
function show(job) {
  const hadFocus = byId("pending").contains(document.activeElement);
  byId("view").dataset.state = job.state;
  if (job.state === "finished" && job.result) showResult(job);
  else showPending(job);
  if (!hadFocus) return;
  // What was focused may be gone: the keyboard is not thrown back to the top of the page.
  if (byId("pending").hidden) byId("sentence").focus();
  else if (!byId("pending").contains(document.activeElement)) byId("pending-actions").querySelector("button")?.focus();
}

/** @param {Job} job */
function follow(job) {
  show(job);
  if (DONE.has(job.state)) return;
  events ??= new JobEvents(true);
  events.watch(job.id, show);
}

/** @type {Job} */
const first = JSON.parse(byId("job-data").textContent ?? "null");
follow(first);
if (first.state === "finished" && !first.result) getJob(first.id).then(show);
