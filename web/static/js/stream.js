// The page of one live stream: the picture, what is in it, what happens, and the pieces of video that are kept.
import { DONE, ask, url } from "./api.js";
import { byId, el, swatch } from "./dom.js";
import { plural } from "./format.js";
import { ask as question, toast } from "./toast.js";

/** @typedef {any} Stream as `GET /streams/<id>` gives it */

const RETRY_MS = 3000;
const WORDS = { appeared: "appeared", disappeared: "is gone", crossed: "crossed the line", entered: "entered the zone", left: "left the zone", connected: "connected", lost: "connection lost" };
const PHASES = { connecting: "Connecting", running: "Live", reconnecting: "Connecting again" };

/** @type {Stream} */
let stream = JSON.parse(byId("stream-data").textContent ?? "{}");
const path = `/streams/${stream.id}`;
const picture = /** @type {HTMLImageElement} */ (byId("picture"));
const player = /** @type {HTMLVideoElement} */ (byId("player"));
let pictureTimer = 0;

/** @param {number} seconds */
function span(seconds) {
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  return parts.map((part) => String(part).padStart(2, "0")).join(":");
}

/** @param {string} iso */
function clock(iso) {
  return new Date(iso).toLocaleTimeString("en", { hour12: false });
}

/** "person" for 1, "people" for 4. @param {string} label @param {number} count */
function noun(label, count) {
  return stream.nouns?.[label]?.[count === 1 ? 0 : 1] ?? label;
}

/** @param {string} id @param {Record<string, number>} counts @param {string} none */
function showCounts(id, counts, none) {
  const items = Object.entries(counts).map(([label, count]) => el("li", {}, swatch(stream.colours?.[label]), el("span", {}, el("span", { class: "count", text: String(count) }), ` ${noun(label, count)}`)));
  byId(id).replaceChildren(...(items.length ? items : [el("li", { text: none })]));
}

/** @param {any} totals */
function showCounting(totals) {
  /** @type {Node[]} */
  const found = [];
  const add = (/** @type {string} */ name, /** @type {Record<string, number>} */ counts) => {
    const text = Object.entries(counts).map(([label, count]) => `${count} ${noun(label, count)}`).join(", ") || "none";
    found.push(el("div", {}, el("dt", { text: name }), el("dd", { text })));
  };
  if (totals?.line) {
    add("Over the line to the right", totals.line.to_right);
    add("to the left", totals.line.to_left);
  }
  if (totals?.zone) {
    add("Entered the zone", totals.zone.entered);
    found.push(el("div", {}, el("dt", { text: "Most at a time" }), el("dd", { text: String(totals.zone.most) })));
  }
  byId("counting").replaceChildren(...found);
}

/** @param {any} event */
function eventText(event) {
  const who = event.label ? `${event.label} ${event.track_id ?? ""} ` : "";
  const where = event.direction ? ` to the ${event.direction}` : "";
  const long = event.kind === "disappeared" && event.seconds !== null ? ` after ${Math.round(event.seconds)} s` : "";
  return `${who}${WORDS[/** @type {keyof WORDS} */ (event.kind)] ?? event.kind}${where}${long}${event.message ? `: ${event.message}` : ""}`;
}

/** @param {any[]} events oldest first */
function showEvents(events) {
  const items = [...events].reverse().map((event) => el("li", {}, el("time", { datetime: event.time, text: clock(event.time) }), el("span", { text: eventText(event) })));
  byId("events").replaceChildren(...(items.length ? items : [el("li", { class: "note", text: "Nothing yet." })]));
}

/** @param {any[]} segments oldest first */
function showSegments(segments) {
  const items = [...segments].reverse().map((segment) => {
    const address = url(`${path}/segments/${segment.number}.mp4`);
    const link = el("a", { href: address, text: clock(segment.started_at), on: { click: (/** @type {Event} */ event) => play(event, address) } });
    return el("li", {}, link, " ", el("span", { class: "note", text: `${Math.round(segment.seconds)} s` }));
  });
  byId("segments").replaceChildren(...(items.length ? items : [el("li", { class: "note", text: "None yet." })]));
}

/** @param {Event} event @param {string} address */
function play(event, address) {
  event.preventDefault();
  player.hidden = false;
  player.src = address;
  player.play().catch(() => undefined);
}

function waitingText() {
  const place = stream.position ? `Number ${stream.position} in the queue. ` : "";
  return `${place}${byId("message").dataset.waiting}`;
}

function showHead() {
  const { state, progress } = stream;
  const chip = byId("state");
  chip.className = `chip ${progress?.phase && progress.phase !== "running" ? "busy" : state}`;
  chip.textContent = stream.stopping ? "stopping" : progress ? PHASES[/** @type {keyof PHASES} */ (progress.phase)] : state;
  const facts = [stream.model];
  if (progress) facts.push(`${progress.fps ?? 0} frames a second`, span(progress.seconds ?? 0), `ends by ${span(progress.limit)}`);
  if (stream.result) facts.push(span(stream.result.seconds), plural(stream.result.frames, "frame"), { stopped: "stopped", limit: "its time was up", ended: "the stream was over" }[/** @type {"stopped" | "limit" | "ended"} */ (stream.result.reason)]);
  byId("facts").textContent = facts.join(" · ");
  byId("message").textContent = stream.error?.message ?? stream.result?.text ?? progress?.message ?? (state === "queued" ? waitingText() : "");
  byId("stop-form").hidden = DONE.has(state) || stream.stopping;
}

function show() {
  showHead();
  const totals = stream.result?.totals ?? stream.progress?.totals ?? {};
  byId("h-now").textContent = DONE.has(stream.state) ? "Seen" : "In the picture now";
  byId("now").hidden = DONE.has(stream.state);
  showCounts("now", stream.progress?.now ?? {}, "nothing");
  showCounts("counts", totals.counts ?? {}, "none yet");
  showCounting(totals);
}

/** What the news of the server do not have. */
async function refresh() {
  try {
    stream.segments = (await ask(path)).segments;
    showSegments(stream.segments);
  } catch (error) {
    toast(/** @type {Error} */ (error).message);
  }
}

function showPicture() {
  clearTimeout(pictureTimer);
  const live = !DONE.has(stream.state);
  picture.hidden = false;
  byId("no-picture").hidden = true;
  picture.src = `${live ? stream.links.live : stream.links.latest}?${Date.now()}`;
}

picture.addEventListener("error", () => {
  picture.hidden = true;
  byId("no-picture").hidden = false;
  clearTimeout(pictureTimer);
  if (!DONE.has(stream.state)) pictureTimer = setTimeout(showPicture, RETRY_MS);
});

function follow() {
  const source = new EventSource(stream.links.events);
  source.addEventListener("job", (event) => {
    const next = JSON.parse(event.data);
    const before = stream;
    stream = { ...before, ...next, segments: next.segments ?? before.segments, colours: { ...before.colours, ...next.colours }, nouns: { ...before.nouns, ...next.nouns } };
    if (stream.state === "gone") {
      source.close();
      location.assign(url("/streams"));
      return;
    }
    show();
    if (DONE.has(stream.state)) {
      source.close();
      showEvents(stream.events ?? []);
      showSegments(stream.segments ?? []);
      showPicture();
      return;
    }
    if (stream.progress?.events?.length) showEvents(stream.progress.events);
    if (stream.progress?.segments !== before.progress?.segments) refresh();
    if (stream.progress?.phase === "running" && before.progress?.phase !== "running") showPicture();
  });
  source.addEventListener("end", () => source.close());
}

byId("stop-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    stream.stopping = (await ask(`${path}/stop`, { method: "POST" })).stopping;
    showHead();
  } catch (error) {
    toast(/** @type {Error} */ (error).message);
  }
});

const remove = byId("delete");
remove.hidden = false;
remove.addEventListener("click", async () => {
  if (!(await question("Delete this stream?", "It ends, and its videos and counts are gone.", "Delete"))) return;
  try {
    await ask(path, { method: "DELETE" });
    location.assign(url("/streams"));
  } catch (error) {
    toast(/** @type {Error} */ (error).message);
  }
});

show();
showEvents(stream.events?.length ? stream.events : (stream.progress?.events ?? []));
showSegments(stream.segments ?? []);
if (!DONE.has(stream.state)) follow();
