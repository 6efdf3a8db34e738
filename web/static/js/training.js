// The page of one training: what it does now, its curves, the report on the data, and what came of it.
import { DONE, ask, download, url } from "./api.js";
import { chart } from "./chart.js";
import { byId, el, icon } from "./dom.js";
import { dateTime, duration, fileSize, percent, plural, timeLeft } from "./format.js";
import { figure, figureName, reportParts, resultParts, short, table } from "./training-parts.js";
import { toast } from "./toast.js";

/** @typedef {any} Training as `GET /trainings/<id>` gives it */

const RETRY_MS = 3000;
const KINDS = { detection: "Finds things", classification: "Tells pictures apart", masks: "Outlines things" };
const STAGES = { fetch: "Fetching the data", check: "Looking through the data", train: "Training", publish: "Saving the model" };
/** Metrics that are drawn, of those that there are. */
const DRAWN = ["AP50", "AP", "mask_AP50", "mask_AP", "accuracy", "f1"];

/** @type {Training} */
let training = JSON.parse(byId("training-data").textContent ?? "{}");
let reported = "";
let drawn = "";

/** @param {string} path @param {RequestInit} [init] */
async function act(path, init) {
  try {
    return await ask(path, init);
  } catch (error) {
    toast(/** @type {Error} */ (error).message);
    return undefined;
  }
}

function showHead() {
  const state = byId("state");
  state.className = `chip ${training.state}`;
  state.textContent = training.state;
  byId("about").textContent = `${KINDS[/** @type {keyof KINDS} */ (training.run.kind)]} · ${training.data.filename} · ${dateTime(training.created_at)}`;
  const buttons = [];
  if (training.links.use) buttons.push(el("a", { class: "button primary", href: training.links.use, text: "Try it" }));
  if (!DONE.has(training.state)) buttons.push(el("button", { type: "button", class: "button", text: "Cancel", on: { click: cancel } }));
  if (training.check_only && training.state === "finished") buttons.push(el("a", { class: "button primary", href: formAddress(), text: "Train with these data" }));
  buttons.push(el("button", { type: "button", class: "button quiet danger", on: { click: remove } }, icon("trash"), "Delete"));
  const texts = buttons.map((button) => button.textContent).join();
  const place = byId("actions");
  if (place.dataset.shown === texts) return; // leave alone what a person may be about to press
  place.dataset.shown = texts;
  place.replaceChildren(...buttons);
}

function showNow() {
  const { state, progress, error, position } = training;
  const bar = /** @type {HTMLProgressElement} */ (byId("bar"));
  const section = byId("now");
  section.hidden = state === "finished";
  section.dataset.state = state;
  bar.hidden = DONE.has(state);
  bar.removeAttribute("value");
  let title = "";
  let text = "";
  if (state === "queued") {
    title = position > 1 ? `Waiting: ${position - 1} before it` : "Waiting for a trainer";
    bar.hidden = true;
  } else if (state === "failed") [title, text] = [error?.message ?? "It failed.", error?.code ?? ""];
  else if (state === "canceled") [title, text] = ["Canceled", training.files.length ? "What it has learnt so far can be downloaded below." : ""];
  else if (progress) {
    const { stage, epoch, epochs, seconds_left: left, resumed, best } = progress;
    title = stage === "train" && epochs ? `Epoch ${epoch} of ${epochs}` : STAGES[/** @type {keyof STAGES} */ (stage)];
    if (stage === "train" && epochs) bar.value = epoch / epochs;
    const parts = [];
    if (stage === "train" && left !== null) parts.push(`about ${timeLeft(left)} left`);
    if (best) parts.push(`best so far: epoch ${best.epoch}`);
    if (resumed) parts.push(`went on after epoch ${resumed}`);
    text = parts.join(" · ");
  } else title = "Beginning";
  if (byId("now-title").textContent !== title) byId("now-title").textContent = title;
  byId("now-text").textContent = text;
  const notes = training.result?.notes ?? progress?.notes ?? [];
  byId("notes").hidden = !notes.length;
  byId("notes-text").replaceChildren(...notes.map((/** @type {string} */ note) => el("p", { text: note })));
}

function showCurves() {
  const run = training.result?.run;
  const history = run?.history ?? training.progress?.history ?? [];
  const key = `${history.length} ${training.state}`;
  if (!history.length || key === drawn) return;
  drawn = key;
  byId("curves").hidden = false;
  const best = (run?.best ?? training.progress?.best)?.epoch ?? null;
  const of = (/** @type {string} */ kind, /** @type {string} */ name) => ({
    name: figureName(name),
    points: history.flatMap((/** @type {any} */ each) => (each[kind]?.[name] === undefined || each[kind][name] < 0 ? [] : [[each.epoch, each[kind][name]]])),
  });
  // the page and the events bring the names in different orders; each keeps its colour
  const losses = Object.keys(history[0].losses).filter((name) => name !== "gradient").sort((one, other) => Number(other === "loss") - Number(one === "loss") || one.localeCompare(other)).slice(0, 5);
  const last = history[history.length - 1].epoch;
  const measured = history.findLast((/** @type {any} */ each) => each.metrics)?.metrics ?? {};
  const metrics = DRAWN.filter((name) => measured[name] !== undefined);
  const charts = [chart("Loss", losses.map((name) => of("losses", name)), { last, best, show: short, tick: (value) => String(Number(value.toPrecision(3))) })];
  if (metrics.length) charts.push(chart("On pictures to choose by", metrics.map((name) => of("metrics", name)), { last, best, show: (value) => figure("", value), tick: percent, most: 1 }));
  byId("charts").replaceChildren(...charts);
  const rows = [...history].reverse().slice(0, 1000).map((/** @type {any} */ each) => [
    String(each.epoch),
    ...losses.map((name) => short(each.losses[name])),
    ...metrics.map((name) => (each.metrics ? figure(name, each.metrics[name]) : "")),
    each.learning_rate.toExponential(1),
    duration(each.seconds * 1000),
  ]);
  byId("figures").replaceChildren(table(["Epoch", ...losses, ...metrics.map(figureName), "Rate", "Time"], rows));
}

async function showReport() {
  const link = training.links.report;
  if (!link || reported === link) return;
  reported = link;
  try {
    const answer = await fetch(link);
    if (!answer.ok) throw new Error(String(answer.status));
    byId("report-body").replaceChildren(...reportParts(await answer.json()));
    byId("report").hidden = false;
  } catch {
    reported = ""; // with the next news
  }
}

function showResult() {
  const run = training.result?.run;
  byId("result").hidden = !run;
  if (run) byId("result-body").replaceChildren(...resultParts(training.result));
  const link = (/** @type {any} */ file) => el("li", {}, el("a", { class: "button", href: download(file.url) }, icon("download"), file.name, el("span", { class: "note", text: fileSize(file.bytes) })));
  byId("files").hidden = !training.files.length;
  byId("files-list").replaceChildren(...training.files.map(link));
}

function showSettings() {
  const names = { kind: "Kind", epochs: "Epochs", size: "Side of the input", batch_size: "Images of a step", learning_rate: "Learning rate", seed: "Seed", val: "Share to choose by", test: "Share held out", patience: "Patience", start: "Goes on from", backbone: "Network", classes: "Classes" };
  const rows = Object.entries(names).flatMap(([name, title]) => (training.run[name] === null ? [] : [[title, String(training.run[name])]]));
  if (training.attempts) rows.push(["Tried again", plural(training.attempts, "time")]);
  byId("settings").replaceChildren(...rows.map(([title, value]) => el("div", {}, el("dt", { text: title }), el("dd", { text: value }))));
}

function show() {
  showHead();
  showNow();
  showCurves();
  showResult();
  showSettings();
  void showReport();
}

/** Follows the training until it has ended; tries again while the server is away. */
function follow() {
  if (DONE.has(training.state)) return;
  const source = new EventSource(training.links.events);
  source.addEventListener("job", (event) => {
    const news = JSON.parse(event.data);
    if (news.state === "gone") location.href = url("/train"); // deleted on another page
    else training = news;
    show();
    if (DONE.has(training.state)) source.close();
  });
  source.addEventListener("end", () => source.close());
  source.addEventListener("error", () => {
    source.close(); // EventSource's own reconnecting gives up for good after an HTTP error
    setTimeout(follow, RETRY_MS);
  });
  addEventListener("pagehide", () => source.close(), { once: true });
}

async function cancel() {
  const answer = await act(`/trainings/${training.id}/cancel`, { method: "POST" });
  if (answer) toast("It is being stopped.");
}

/** The form, with the data and the options of this check. */
function formAddress() {
  const fields = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...training.run, dataset: training.data.name })) if (value !== null) fields.set(name, String(value));
  return url(`/train?${fields}`);
}

function remove() {
  const dialog = /** @type {HTMLDialogElement} */ (byId("delete-dialog"));
  byId("delete-model-row").hidden = !training.in_use;
  byId("delete-data-row").hidden = training.data.key.endsWith("/");
  dialog.returnValue = "no";
  dialog.showModal();
}

byId("delete-dialog").addEventListener("close", async (event) => {
  if (/** @type {HTMLDialogElement} */ (event.target).returnValue !== "yes") return;
  const wish = (/** @type {string} */ id) => /** @type {HTMLInputElement} */ (byId(id)).checked;
  const answer = await act(`/trainings/${training.id}?model=${wish("delete-model")}&data=${wish("delete-data")}`, { method: "DELETE" });
  if (answer !== undefined) location.href = url("/train");
});

show();
follow();
