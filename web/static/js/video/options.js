// The options for videos on the start page: which part, which frames, what is made of them.
import { byId } from "../dom.js";

const FIELDS = ["start", "end", "frames", "rate", "max_side", "draw"];
const input = (/** @type {string} */ name) => /** @type {HTMLInputElement} */ (byId(`video-${name}`));

/** Whether a file may be a video. What it is, the server finds out; these types never are. @param {File} file */
export function mayMove(file) {
  return !/^image\/(?!gif$|webp$|png$|apng$)/.test(file.type);
}

/** The fields that were moved. What is wrong is left out, as the form says. @returns {Record<string, string>} */
export function videoOptions() {
  /** @type {Record<string, string>} */
  const options = {};
  for (const name of ["start", "end"]) {
    const seconds = secondsOf(input(name).value);
    if (seconds && input(name).validity.valid) options[name] = String(seconds);
  }
  const { value: frames } = input("frames");
  if (frames && input("rate").validity.valid && input("rate").value) options[frames] = input("rate").value;
  if (input("max_side").value) options.max_side = input("max_side").value;
  if (!input("draw").checked) options.draw = "false";
  return options;
}

/** "90", "1:30" or "0:01:30" as seconds; null for what is none. @param {string} text */
export function secondsOf(text) {
  if (!/^\d+(:\d{1,2}){0,2}(\.\d+)?$/.test(text.trim())) return null;
  return text.trim().split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

function check() {
  const { value: frames } = input("frames");
  const rate = input("rate");
  byId("video-rate-field").hidden = !frames;
  byId("video-rate-label").textContent = frames === "fps" ? "Frames a second" : "One frame of every";
  rate.step = frames === "fps" ? "any" : "1";
  rate.min = frames === "fps" ? "0.01" : "1";
  rate.max = frames === "fps" ? "240" : "1000";
  const [start, end] = ["start", "end"].map((name) => secondsOf(input(name).value));
  for (const name of ["start", "end"]) {
    const { value } = input(name);
    input(name).setCustomValidity(value && secondsOf(value) === null ? "Seconds, or minutes and seconds such as 1:30, are wanted." : "");
  }
  if (start !== null && end !== null && end <= start) input("end").setCustomValidity("The end comes after the start.");
  const wrong = FIELDS.map(input).find((field) => !field.validity.valid);
  byId("video-wrong").textContent = wrong ? `${wrong.validationMessage} Until then this field is left out.` : "";
}

/** Back to the defaults. */
export function resetVideoOptions() {
  for (const name of ["start", "end", "frames", "rate", "max_side"]) input(name).value = "";
  input("draw").checked = true;
  check();
}

/** Keeps the fields in step with each other. */
export function startVideoOptions() {
  byId("video-options").addEventListener("input", check);
  check();
}
