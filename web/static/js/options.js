// The form of options beside the drop zone, and the banners that say what the service lacks.
import { getModels, getReady } from "./api.js";
import { byId, el, icon } from "./dom.js";
import { percent } from "./format.js";

const READY_MS = 15_000;

/** What a number option is until the server has said so. @type {Record<string, {default: number, minimum: number, maximum: number}>} */
let rules = { score: { default: 0.25, minimum: 0, maximum: 1 }, iou: { default: 0.45, minimum: 0, maximum: 1 }, max_detections: { default: 100, minimum: 1, maximum: 1000 } };
/** @type {any[]} */
let models = [];
let workers = 1;
let shown = "";
let known = false;

const input = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (byId(name));

/** The options for a file that is sent now: the model and the score always, the others where they were moved. */
export function currentOptions() {
  if (!known) return {};
  /** @type {Record<string, string>} */
  const options = {};
  const { value: model } = /** @type {HTMLSelectElement} */ (byId("model"));
  if (model) options.model = model;
  for (const name of Object.keys(rules)) {
    const field = input(name);
    if (field.validity.valid && field.value !== "" && (name === "score" || Number(field.value) !== rules[name].default)) options[name] = field.value;
  }
  return options;
}

function showValues() {
  for (const name of ["score", "iou"]) byId(`${name}-value`).textContent = percent(Number(input(name).value));
}

function reset() {
  for (const [name, rule] of Object.entries(rules)) input(name).value = String(rule.default);
  const standard = models.find((model) => model.default && model.installed) ?? models.find((model) => model.installed);
  if (standard) /** @type {HTMLSelectElement} */ (byId("model")).value = standard.name;
  showValues();
  showNote();
}

function showNote() {
  const model = models.find(({ name }) => name === /** @type {HTMLSelectElement} */ (byId("model")).value);
  const missing = models.filter(({ installed }) => !installed);
  const note = byId("model-note");
  note.replaceChildren();
  if (model?.description) note.append(el("span", { text: model.description }));
  if (missing.length) {
    const how = el("ul", { class: "missing" });
    for (const { title, name, install } of missing) how.append(el("li", {}, `${title || name}: `, el("code", { text: install ?? "" })));
    note.append(el("details", {}, el("summary", { text: missing.length === 1 ? "One more can be installed" : `${missing.length} more can be installed` }), how));
  }
}

function fillModels() {
  const select = /** @type {HTMLSelectElement} */ (byId("model"));
  select.replaceChildren(
    ...models.map((model) => {
      const option = /** @type {HTMLOptionElement} */ (el("option", { value: model.name, disabled: !model.installed }));
      option.textContent = `${model.title || model.name}${model.installed ? "" : " (not installed)"}`;
      return option;
    }),
  );
  if (!models.some(({ installed }) => installed)) {
    const none = /** @type {HTMLOptionElement} */ (el("option", { value: "", text: "None is installed", disabled: true, selected: true }));
    select.prepend(none);
  }
}

/**
 * @param {string} name one banner a name
 * @param {(Node | string)[] | null} content null takes it away
 */
function banner(name, content) {
  const id = `banner-${name}`;
  document.getElementById(id)?.remove();
  if (content) byId("banners").append(el("div", { id, class: "banner", role: "status" }, icon("alert"), el("div", {}, ...content)));
}

async function loadModels() {
  let answer;
  try {
    answer = await getModels();
  } catch {
    return false;
  }
  // Which models are there, only a live worker knows: without one, none is called missing.
  workers = answer.workers ?? 1;
  models = workers ? answer.models : answer.models.map((/** @type {any} */ model) => ({ ...model, installed: true }));
  const offered = Object.entries(answer.options ?? {}).filter(([name]) => name in rules);
  rules = { ...rules, ...Object.fromEntries(offered) };
  for (const [name, rule] of Object.entries(rules)) {
    input(name).min = String(rule.minimum);
    input(name).max = String(rule.maximum);
  }
  const chosen = known ? /** @type {HTMLSelectElement} */ (byId("model")).value : "";
  // The same as before: leave alone what a person may be pointing at.
  const now = JSON.stringify(models);
  if (now === shown) return true;
  shown = now;
  fillModels();
  if (!known) reset();
  else if (models.some(({ name, installed }) => name === chosen && installed)) /** @type {HTMLSelectElement} */ (byId("model")).value = chosen;
  showNote();
  known = true;
  const standard = models.find((model) => model.default) ?? models.find(({ name }) => name === answer.default);
  const others = models.some(({ installed }) => installed);
  banner(
    "model",
    standard && !standard.installed
      ? [
          el("p", {}, el("strong", { text: `The model “${standard.title || standard.name}” is not installed.` }), others ? " Another one is used meanwhile." : " Photos cannot be looked at until it is."),
          el("p", {}, "On the server: ", el("code", { text: standard.install ?? `make weights MODEL=${standard.name}` }), ", and restart the worker."),
        ]
      : null,
  );
  return true;
}

/** What follows from a failed check, after the server's own words. @type {Record<string, (string | Node)[]>} */
const CONSEQUENCES = {
  redis: ["Uploads are tried again by themselves until it answers."],
  storage: ["Uploads are tried again by themselves until it answers."],
  worker: ["Photos are taken in and wait until then. If that lasts: ", el("code", { text: "make run" }), " or ", el("code", { text: "docker compose up -d" }), " starts a worker, and its log says what it lacks."],
};

async function checkReady() {
  /** @type {HTMLElement[] | null} */
  let content = null;
  let ready = false;
  try {
    const answer = await getReady();
    ready = answer.ready;
    if (!ready) {
      const wrong = Object.entries(answer.checks ?? {}).filter(([, check]) => !check.ok);
      /** @type {Set<string>} */
      const said = new Set();
      content = [];
      for (const [name, { message }] of wrong) {
        // Without Redis every check says the same; without its model the other banner says it better.
        if (said.has(message) || (name === "worker" && document.getElementById("banner-model"))) continue;
        said.add(message);
        const consequence = (CONSEQUENCES[name] ?? []).map((part) => (part instanceof Node ? part.cloneNode(true) : part));
        content.push(el("p", {}, el("strong", { text: message || `The ${name} is not ready.` }), " ", ...consequence));
      }
      if (wrong.length && !content.length) content = null;
      else if (!wrong.length) content = [el("p", { text: "The service is not ready yet." })];
    }
  } catch {
    content = [el("p", { text: "The server cannot be reached at the moment." })];
  }
  const now = content?.map((node) => node.textContent).join("") ?? "";
  if (now !== (byId("banners").dataset.ready ?? "")) {
    byId("banners").dataset.ready = now;
    banner("ready", content);
  }
  return ready;
}

/** Fills the form and keeps the banners true. */
export async function startOptions() {
  byId("options").addEventListener("submit", (event) => event.preventDefault());
  byId("options").addEventListener("input", showValues);
  byId("model").addEventListener("change", showNote);
  byId("options-reset").addEventListener("click", reset);
  showValues();
  const keepUp = async () => {
    if (!document.hidden) {
      const ready = await checkReady();
      if (!known || (ready && !workers) || document.getElementById("banner-model")) await loadModels();
    }
    setTimeout(keepUp, READY_MS);
  };
  await loadModels();
  await keepUp();
}
