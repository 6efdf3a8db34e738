// The start page: files in, rows out. Each part is a module of its own; this is what ties them together.
import { ApiError, cancelJob, compareUrl, deleteJob, DONE } from "./api.js";
import { byId } from "./dom.js";
import { plural } from "./format.js";
import { JobEvents } from "./job-events.js";
import { JobRow } from "./job-row.js";
import { currentOptions, startOptions } from "./options.js";
import { showRecent } from "./recent.js";
import { offerSample } from "./sample.js";
import { Summary } from "./summary.js";
import { toast } from "./toast.js";
import { twinOf, Uploads } from "./uploads.js";

/**
 * @typedef {import("./api.js").Job} Job
 * @typedef {import("./uploads.js").UploadFile} UploadFile
 */

const BATCH_MS = 400; // files that come within this time of each other are one batch, kept in its order
const UNDO_MS = 6000;
const LEAST_SEEN_PX = 120; // of the list: its heading, and how far it is
/** @type {ScrollBehavior} */
const SCROLLING = matchMedia("(prefers-reduced-motion: reduce)").matches ? "instant" : "smooth";

/** @type {Map<UploadFile, JobRow>} */
const rows = new Map();
/** @type {Map<string, () => void>} deletions that can still be undone, and how to carry them out at once */
const deletions = new Map();
const events = new JobEvents();
const summary = new Summary(() => rows.values());
const list = byId("rows");
/** The failed row that was gone to last. @type {HTMLElement | null} */
let lastFailed = null;

/** @type {{pending: DocumentFragment, last: Element | null, frame: number, timer: number}} */
const batch = { pending: document.createDocumentFragment(), last: null, frame: 0, timer: 0 };

/** A list that begins below what is to be seen, as on a phone, would go unnoticed. */
function bringIntoView() {
  const work = byId("work");
  if (work.getBoundingClientRect().top > innerHeight - LEAST_SEEN_PX) work.scrollIntoView({ behavior: SCROLLING });
}

/** Newest batch first; many rows are one change of the page. @param {Element} element */
function insert(element) {
  batch.pending.append(element);
  batch.frame ||= requestAnimationFrame(() => {
    batch.frame = 0;
    const newest = batch.pending.lastElementChild;
    if (!batch.last) requestAnimationFrame(bringIntoView); // when the list is shown
    if (batch.last?.isConnected) batch.last.after(batch.pending);
    else list.prepend(batch.pending);
    batch.last = newest;
    clearTimeout(batch.timer);
    batch.timer = setTimeout(() => (batch.last = null), BATCH_MS);
  });
}

/** @param {Job} job @param {JobRow} row */
function follow(job, row) {
  row.setJob(job, events.covers(job.id));
  summary.touch();
  if (!DONE.has(job.state)) {
    events.watch(job.id, (update) => {
      row.setJob(update);
      summary.touch();
    });
  }
}

/** What an upload has become. @param {Job} job @param {JobRow} row */
function begin(job, row) {
  if (job.state !== "finished" && job.state) {
    follow(job, row);
    return;
  }
  events.watch(job.id, (update) => {
    row.setJob(update);
    summary.touch();
  });
}

/**
 * A row for each job of one upload: that of the file, and one more below it for each further model.
 *
 * @param {JobRow} row
 * @param {Job[]} jobs
 */
function rowsFor(row, jobs) {
  if (jobs.length === 1) return [row];
  const all = [row];
  const compare = compareUrl(jobs.map(({ id }) => id));
  for (const [index, { model = "" }] of jobs.entries()) {
    const own = index === 0 ? row : new JobRow(twinOf(row.file), { remove, retry });
    own.setModel(model, compare);
    own.file.options = { ...row.file.options, model }; // sent again, this model alone
    if (index === 0) continue;
    all[index - 1].element.after(own.element);
    rows.set(own.file, own);
    all.push(own);
  }
  return all;
}

/** @param {JobRow} row */
function drop(row) {
  row.release();
  row.element.remove();
  rows.delete(row.file);
  summary.touch();
}

/** Ends the job at once; its row stays and says so. @param {JobRow} row @param {string} id */
async function cancel(row, id) {
  try {
    const job = await cancelJob(id);
    if (!DONE.has(job.state)) toast(`${row.name} is being stopped.`);
    else if (row.id === id) row.setJob(job);
    summary.touch();
  } catch (error) {
    // one that has ended meanwhile, or is gone: its row is about to hear of it
    if (!(error instanceof ApiError && (error.status === 404 || error.status === 409))) toast(`${row.name} could not be canceled: ${/** @type {Error} */ (error).message}`);
  }
}

/** @param {JobRow} row */
function remove(row) {
  const { id } = row;
  if (id !== null && (row.state === "queued" || row.state === "running")) {
    void cancel(row, id);
    return;
  }
  if (id === null || row.state === "failed" || row.state === "canceled") {
    uploads.remove(row.file);
    if (id !== null) events.unwatch(id);
    drop(row);
    return;
  }
  const following = row.element.nextElementSibling ?? row.element.previousElementSibling;
  row.element.hidden = true;
  const carryOut = () => {
    deletions.delete(id);
    events.unwatch(id);
    drop(row);
    deleteJob(id, { keepalive: true }).catch((error) => toast(`${row.name} could not be deleted: ${error.message}`));
  };
  deletions.set(id, carryOut);
  toast(`${row.name} is deleted.`, {
    action: "Undo",
    ms: UNDO_MS,
    onAction: () => {
      deletions.delete(id);
      row.element.hidden = false;
    },
    onEnd: () => deletions.get(id)?.(),
  });
  /** @type {HTMLElement | null | undefined} */ (following?.querySelector("a[href]:not([tabindex]), button"))?.focus();
}

/** @param {JobRow} row */
function retry(row) {
  row.id = null;
  row.setWaiting();
  summary.touch();
  uploads.retry(row.file);
}

const uploads = new Uploads(
  {
    maxUploadMb: Number(document.body.dataset.maxUploadMb) || 32,
    maxVideoMb: Number(document.body.dataset.maxVideoMb) || 0,
    accept: document.body.dataset.accept ?? "",
    options: currentOptions,
  },
  {
    added(file) {
      const row = new JobRow(file, { remove, retry });
      rows.set(file, row);
      insert(row.element);
      summary.touch();
    },
    progress(file) {
      rows.get(file)?.setUploading();
      summary.touch();
    },
    sent(file, jobs) {
      const row = rows.get(file);
      if (!row) for (const { id } of jobs) deleteJob(id).catch(() => {}); // taken back while it was on its way
      else for (const [index, own] of rowsFor(row, jobs).entries()) begin(jobs[index], own);
    },
    waiting(file, seconds, busy) {
      rows.get(file)?.setBusy(seconds, busy);
      summary.touch();
    },
    refused(file, error) {
      rows.get(file)?.setRefused(error);
      summary.touch();
    },
    skipped(count) {
      toast(`${plural(count, "file")} left out: neither photos nor videos.`);
    },
  },
);

offerSample((files) => uploads.add(files));

byId("next-failed").addEventListener("click", () => {
  // In the order of the page, and from the beginning again after the last.
  const failed = /** @type {HTMLElement[]} */ ([...list.querySelectorAll(".row[data-state='failed']")]);
  const next = failed[(failed.findIndex((row) => row === lastFailed) + 1) % failed.length];
  lastFailed = next ?? null;
  next?.scrollIntoView({ block: "center", behavior: SCROLLING });
  next?.querySelector("button")?.focus({ preventScroll: true });
});

byId("clear-done").addEventListener("click", () => {
  for (const row of [...rows.values()]) if (row.done && !row.element.hidden) drop(row);
  showRecent();
  byId("pick-files").focus();
});

addEventListener("pagehide", () => {
  for (const carryOut of [...deletions.values()]) carryOut();
});

addEventListener("beforeunload", (event) => {
  for (const row of rows.values()) {
    if (row.state === "waiting" || row.state === "uploading" || row.state === "busy") {
      event.preventDefault();
      return;
    }
  }
});

startOptions();
showRecent();
