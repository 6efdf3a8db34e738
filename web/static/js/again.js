// The same file once more with other options: a form on the page of its result.
import { getModels, lookAgain } from "./api.js";
import { byId, el } from "./dom.js";
import { percent } from "./format.js";
import { toast } from "./toast.js";
import { ShapeEditor } from "./video/shape-editor.js";

/** @typedef {import("./api.js").Job} Job */

const NO_BOXES = "classification";

/** @param {Job} job a finished one */
export function startAgain(job) {
  const section = /** @type {HTMLDetailsElement | null} */ (document.getElementById("again"));
  if (!section) return; // not for whoever has only the link
  const video = job.kind === "video";
  const select = /** @type {HTMLSelectElement} */ (byId("again-model"));
  const score = /** @type {HTMLInputElement} */ (byId("again-score"));
  const send = /** @type {HTMLButtonElement} */ (byId("again-send"));
  const before = { model: job.model ?? "", score: String(job.result.options.score ?? 0.25) };
  /** @type {ShapeEditor | null} */
  let shapes = null;
  /** @type {any[]} */
  let models = [];

  const show = () => {
    byId("again-score-value").textContent = percent(Number(score.value));
    byId("again-score-field").hidden = models.find(({ name }) => name === select.value)?.task === NO_BOXES;
    send.textContent = shapes && shapes.kind !== "none" ? `Count again with this ${shapes.kind}` : "Look again";
  };
  score.value = before.score;
  section.addEventListener("input", show);
  section.addEventListener("toggle", async () => {
    if (!section.open || models.length) return;
    if (video && job.links?.image && !shapes) {
      const { source, video_options: options } = job.result;
      shapes = new ShapeEditor(byId("again-shapes"), { picture: job.links.image, size: source, line: options.line, zone: options.zone, onChange: () => show() });
    }
    try {
      models = (await getModels()).models.filter((/** @type {any} */ { installed, name, task }) => (installed || name === before.model) && !(video && task === NO_BOXES));
    } catch (error) {
      toast(`The models could not be listed: ${/** @type {Error} */ (error).message}`);
    }
    select.replaceChildren(...models.map(({ name, title }) => el("option", { value: name, text: title || name, selected: name === before.model })));
    show();
  });
  byId("again-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    send.disabled = true;
    /** @type {Record<string, string>} */
    const options = { ...shapes?.options };
    if (select.value && select.value !== before.model) options.model = select.value;
    if (score.value !== before.score && !byId("again-score-field").hidden) options.score = score.value;
    try {
      const answer = await lookAgain(job.id, options);
      if (answer.id === job.id) toast("These are the options of this result.");
      else location.assign(answer.url);
    } catch (error) {
      toast(/** @type {Error} */ (error).message, { ms: 8000 });
    }
    send.disabled = false;
  });
  show();
}
