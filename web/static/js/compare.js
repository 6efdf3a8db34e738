// The page of several results: the server writes it; here the answers that were not there yet come in.
import { DONE } from "./api.js";
import { JobEvents } from "./job-events.js";

/** The page as the server would write it now: its changed answers, and the table of all, take the place of the old. */
async function refresh() {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const answer of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".answer"))) {
    const now = /** @type {HTMLElement | null} */ (fresh.getElementById(answer.id));
    if (now && now.dataset.state !== answer.dataset.state) answer.replaceWith(document.adoptNode(now));
  }
  const table = fresh.getElementById("compare-table");
  if (!table) return;
  const old = document.getElementById("compare-table");
  if (old) old.replaceWith(document.adoptNode(table));
  else document.querySelector(".answers")?.after(document.adoptNode(table));
}

let running = Promise.resolve();
for (const answer of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(".answer"))) {
  let state = answer.dataset.state ?? "";
  if (DONE.has(state)) continue;
  // A stream each: they are four at most, and by its own path whoever has the link may follow a job, also without a key.
  new JobEvents(true).watch(answer.dataset.id ?? "", (job) => {
    if (job.state === state) return;
    state = job.state;
    running = running.then(refresh).catch((error) => console.warn("the page could not be brought up to date", error));
  });
}
