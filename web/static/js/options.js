// The form of options beside the drop zone, and the banners that say what the service lacks.
import { getModels, getReady } from "./api.js";
import { byId, el, icon } from "./dom.js";
import { percent } from "./format.js";
import { mayMove, resetVideoOptions, startVideoOptions, videoOptions } from "./video/options.js";

const READY_MS = 15_000;
const TASKS = [
  ["detection", "Objects in boxes"],
  ["segmentation", "Objects with outlines"],
  ["classification", "The picture as a whole"],
];

/** What a number option is until the server has said so. @type {Record<string, {default: number, minimum: number, maximum: number}>} */
let rules = {
  score: { default: 0.25, minimum: 0, maximum: 1 },
  iou: { default: 0.45, minimum: 0, maximum: 1 },
  max_detections: { default: 100, minimum: 1, maximum: 1000 },
  top: { default: 3, minimum: 1, maximum: 100 },
};
/** Fields of a job's terms: sent as they are, if they are filled in; a server without webhooks has no such field. */
const TERMS = ["priority", "cancel_after", "webhook"];
/** @type {any[]} */
let models = [];
let workers = 1;
/** Name of the model for whoever chooses none. */
let inUse = "";
let mostModels = 1;
let shown = "";
let known = false;
/** The model that a person chose, or that the link to this page names. */
let wish = new URLSearchParams(location.search).get("model");
/** The options that a person has set: what comes from the server later leaves them alone. @type {Set<string>} */
const touched = new Set();

const input = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (byId(name));
const others = () => /** @type {HTMLInputElement[]} */ ([...byId("others-list").querySelectorAll("input")]);

/** The models that are to look, the one of the list first. @returns {any[]} */
function chosenModels() {
  const { value: first } = /** @type {HTMLSelectElement} */ (byId("model"));
  const names = [first, ...others().flatMap((box) => (box.checked && box.value !== first ? [box.value] : []))];
  return names.flatMap((name) => models.find((model) => model.name === name) ?? []);
}

/** Names of the options that one of the chosen models has. @returns {Set<string>} */
function optionsOf() {
  return new Set(chosenModels().flatMap(({ options }) => options ?? []));
}

/**
 * The options for a file that is sent now: the models and the score always, the others where they were moved.
 * Before the server has said which models there are, no more than a person has set.
 *
 * @param {File} file
 */
export function currentOptions(file) {
  const options = mayMove(file) ? videoOptions() : {};
  const names = known ? chosenModels().map(({ name }) => name).join(",") : wish;
  if (names) options.model = names;
  const wanted = known ? optionsOf() : touched;
  for (const name of Object.keys(rules)) {
    const field = input(name);
    if (!wanted.has(name) || !field.validity.valid || field.value === "") continue;
    if (name === "score" || Number(field.value) !== rules[name].default) options[name] = field.value;
  }
  if (wanted.has("explain") && input("explain").checked) {
    options.explain = "true";
    const label = input("explain_class").value.trim();
    if (label) options.explain_class = label;
  }
  for (const name of TERMS) {
    const field = /** @type {HTMLInputElement | null} */ (document.getElementById(name));
    if (field?.value.trim() && field.validity.valid) options[name] = field.value.trim();
  }
  return options;
}

function showValues() {
  for (const name of ["score", "iou"]) byId(`${name}-value`).textContent = percent(Number(input(name).value));
}

/** The server's own values, where a person has set none. */
function fillDefaults() {
  for (const [name, rule] of Object.entries(rules)) if (!touched.has(name)) input(name).value = String(rule.default);
  showValues();
}

/** What was wished for if it can be had, else the model for whoever chooses none: it may have been installed a moment ago. */
function pickModel() {
  const usable = models.flatMap(({ name, installed }) => (installed ? [name] : []));
  const name = [wish, inUse].find((name) => name && usable.includes(name)) ?? usable[0];
  if (name) /** @type {HTMLSelectElement} */ (byId("model")).value = name;
}

function reset() {
  wish = null;
  touched.clear();
  fillDefaults();
  for (const name of ["explain_class", ...TERMS]) {
    const field = /** @type {HTMLInputElement | null} */ (document.getElementById(name));
    if (field) field.value = "";
  }
  for (const box of [input("explain"), ...others()]) box.checked = false;
  resetVideoOptions();
  pickModel();
  showModel();
}

/** What follows from the choice of models: the note, the other models, the fields. */
function showModel() {
  showNote();
  showOthers();
  const chosen = chosenModels();
  const wanted = optionsOf();
  if (!input("explain").checked) wanted.delete("explain_class");
  for (const field of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-option]"))) {
    field.hidden = known && !wanted.has(field.dataset.option ?? "");
  }
  const labels = new Set(chosen.flatMap(({ task, classes }) => (task === "classification" ? classes : [])));
  byId("class-names").replaceChildren(...[...labels].map((label) => el("option", { value: label })));
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

/** The one of the list is not among the others, and no more can be ticked than may look. */
function showOthers() {
  const { value: first } = /** @type {HTMLSelectElement} */ (byId("model"));
  const full = chosenModels().length >= mostModels;
  let count = 0;
  for (const box of others()) {
    const own = box.value === first;
    /** @type {HTMLElement} */ (box.parentElement).hidden = own;
    box.disabled = !own && full && !box.checked;
    if (!own) count++;
  }
  byId("others").hidden = !count || mostModels < 2;
  byId("others-note").textContent = full ? `At most ${mostModels} models at a time.` : "Each looks at every file; the answers can be seen side by side.";
}

function fillModels() {
  const select = /** @type {HTMLSelectElement} */ (byId("model"));
  const option = (/** @type {any} */ model) => {
    const item = /** @type {HTMLOptionElement} */ (el("option", { value: model.name, disabled: !model.installed }));
    item.textContent = `${model.title || model.name}${model.installed ? "" : " (not installed)"}`;
    return item;
  };
  // By what they find out, where there is more than one kind.
  const kinds = TASKS.flatMap(([task, title]) => {
    const same = models.filter((model) => (model.task ?? "detection") === task);
    return same.length ? [{ title, same }] : [];
  });
  select.replaceChildren(...(kinds.length > 1 ? kinds.map(({ title, same }) => el("optgroup", { label: title }, ...same.map(option))) : models.map(option)));
  const ticked = new Set(others().flatMap((box) => (box.checked ? [box.value] : [])));
  const boxes = models.filter(({ installed }) => installed).map(({ name, title }) => el("label", { class: "check" }, el("input", { type: "checkbox", value: name, checked: ticked.has(name) }), title || name));
  byId("others-list").replaceChildren(...boxes);
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
    return; // it is asked again
  }
  // Which models are there, only a live worker knows: without one, none is called missing.
  workers = answer.workers ?? 1;
  inUse = answer.in_use ?? answer.default ?? "";
  mostModels = answer.limits?.max_models ?? 1;
  models = workers ? answer.models : answer.models.map((/** @type {any} */ model) => ({ ...model, installed: true }));
  const offered = Object.entries(answer.options ?? {}).filter(([name]) => name in rules);
  rules = { ...rules, ...Object.fromEntries(offered) };
  for (const [name, rule] of Object.entries(rules)) {
    input(name).min = String(rule.minimum);
    input(name).max = String(rule.maximum);
  }
  // The same as before: leave alone what a person may be pointing at.
  const now = JSON.stringify([inUse, models]);
  if (now === shown) return;
  shown = now;
  fillModels();
  pickModel();
  if (!known) fillDefaults();
  known = true;
  showModel();
  const standard = models.find((model) => model.default) ?? models.find(({ name }) => name === answer.default);
  const another = models.find(({ name, installed }) => name === inUse && installed) ?? models.find(({ installed }) => installed);
  banner(
    "model",
    standard && !standard.installed
      ? [
          el("p", {}, el("strong", { text: `The model “${standard.title || standard.name}” is not installed.` }), another ? ` Until it is, “${another.title || another.name}” is at work.` : " Nothing can be looked at until it is."),
          el("p", {}, "On the server: ", el("code", { text: standard.install ?? `make weights MODEL=${standard.name}` }), ". Workers find it by themselves."),
        ]
      : null,
  );
}

/** What follows from a failed check, after the server's own words. @type {Record<string, (string | Node)[]>} */
const CONSEQUENCES = {
  redis: ["Uploads are tried again by themselves until it answers."],
  storage: ["Uploads are tried again by themselves until it answers."],
  worker: ["Files are taken in and wait until then. If that lasts: ", el("code", { text: "make run" }), " or ", el("code", { text: "docker compose up -d" }), " starts a worker, and its log says what it lacks."],
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
  for (const name of Object.keys(rules)) if (input(name).value !== input(name).defaultValue) touched.add(name); // before this ran
  byId("options").addEventListener("input", (event) => {
    const { id, value } = /** @type {HTMLInputElement} */ (event.target);
    if (id === "model") wish = value;
    else if (id in rules) touched.add(id);
    showValues();
  });
  byId("options").addEventListener("change", showModel);
  byId("options-reset").addEventListener("click", reset);
  startVideoOptions();
  showValues();
  const keepUp = async () => {
    if (!document.hidden) {
      const ready = await checkReady();
      if (!known || (ready && !workers) || document.getElementById("banner-model")) await loadModels();
    }
    setTimeout(keepUp, READY_MS);
  };
  // a model may have been trained on another page meanwhile, or installed in a terminal
  document.addEventListener("visibilitychange", () => document.hidden || loadModels());
  addEventListener("focus", loadModels);
  await loadModels();
  await keepUp();
}
