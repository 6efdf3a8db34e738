// What there is to know about a result beside the objects: file, model, times.
import { el } from "./dom.js";
import { dateTime, duration, fileSize, relative, share } from "./format.js";

/** @typedef {import("./api.js").Job} Job */

const PHASES = ["fetch", "decode", "load", "preprocess", "inference", "postprocess", "draw", "store"];

/** @param {HTMLElement} entry */
export function wide(entry) {
  entry.className = "wide";
  return entry;
}

/** @param {string} term @param {...(Node | string | null | undefined | false)} description */
export function fact(term, ...description) {
  return el("div", {}, el("dt", { text: term }), el("dd", {}, ...description));
}

const REST = 0.1; // of the whole; less than this, that no phase has, is not worth a word

/** @param {Record<string, number>} timings @param {string[]} [phases] in the order that they are shown */
export function times(timings, phases = PHASES) {
  const bar = el("div", { class: "phases", "aria-hidden": "true" });
  const known = phases.filter((phase) => timings[phase] > 0);
  const sum = known.reduce((total, phase) => total + timings[phase], 0);
  const total = timings.total ?? sum;
  const add = (/** @type {string} */ name, /** @type {number} */ ms, className = "") => {
    const words = name === "load" ? "loading the model" : name;
    const part = el("span", { class: className, title: `${words} ${duration(ms)}` });
    part.style.setProperty("--part", String(ms));
    bar.append(part);
    return `${words} ${duration(ms)}`;
  };
  const texts = known.map((phase) => add(phase, timings[phase], phase));
  if (total - sum > REST * total) texts.push(add("other things", total - sum));
  return [duration(total), bar, el("span", { class: "note", text: texts.join(", ") })];
}

/** What is said of every result: model, options, and when. @param {Job} job a finished one */
export function commonFacts(job) {
  const { model, options, timings_ms: timings } = /** @type {import("./api.js").Result} */ (job.result);
  const finished = job.finished_at ?? job.created_at;
  const chosen = Object.entries(options ?? {}).filter(([name, value]) => name !== "model" && value !== "");
  return [
    fact("Model", model.name),
    fact("Run by", `${model.engine}, ${model.precision}, at ${model.input_size[1]} × ${model.input_size[0]}`),
    ...(chosen.length ? [fact("Options", chosen.map(([name, value]) => `${name.replaceAll("_", " ")} ${value === true ? "yes" : value === false ? "no" : value}`).join(", "))] : []),
    ...(timings.queue === undefined ? [] : [fact("Time in the queue", duration(timings.queue))]),
    ...(finished ? [fact("Finished", el("time", { datetime: finished, title: dateTime(finished), text: relative(finished) }))] : []),
    ...(job.expires_at ? [fact("Is deleted by itself", el("time", { datetime: job.expires_at, title: dateTime(job.expires_at), text: relative(job.expires_at) }))] : []),
  ];
}

/**
 * @param {HTMLElement} place
 * @param {Job} job a finished photo
 */
export function showFacts(place, job) {
  const { source, timings_ms: timings, notes, mask_percent: covered } = /** @type {import("./api.js").Result} */ (job.result);
  place.replaceChildren(
    ...notes.map((note) => wide(fact("Note", note))),
    wide(fact("Picture", `${source.width} × ${source.height} pixels, ${source.format}, ${fileSize(source.bytes)}`)),
    ...(covered ? [fact("Covered by objects", `${share(covered)} of the picture`)] : []),
    wide(fact("Time taken", ...times(timings))),
    ...commonFacts(job),
  );
}
