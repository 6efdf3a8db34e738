// The form that starts a training. It works without this; here are dropping, progress, and errors without leaving.
import { errorOf } from "./api.js";
import { byId } from "./dom.js";
import { fileSize, percent } from "./format.js";

const form = /** @type {HTMLFormElement} */ (byId("train-form"));
const data = /** @type {HTMLInputElement} */ (byId("data"));
const dataset = /** @type {HTMLSelectElement | null} */ (document.getElementById("dataset"));
const name = /** @type {HTMLInputElement} */ (byId("name"));
const sending = /** @type {HTMLProgressElement} */ (byId("sending"));
const mostBytes = Number(form.dataset.maxMb) * 1024 * 1024;

/** What the other kinds ask for is not shown, and not sent. */
function showKind() {
  const kind = new FormData(form).get("kind");
  const usual = /** @type {HTMLInputElement} */ (form.querySelector("[name=kind]:checked")).dataset.epochs ?? "";
  /** @type {HTMLInputElement} */ (byId("epochs")).placeholder = byId("usual-epochs").textContent = usual;
  for (const field of /** @type {NodeListOf<HTMLElement>} */ (form.querySelectorAll("[data-kind]"))) {
    field.hidden = !field.dataset.kind?.split(" ").includes(String(kind));
    if (field instanceof HTMLOptionElement) {
      field.disabled = field.hidden;
      if (field.hidden && field.selected) field.selected = false;
    }
    for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (field.querySelectorAll("input, select"))) input.disabled = field.hidden;
  }
}

function showData() {
  const [file] = data.files ?? [];
  byId("data-size").textContent = file ? `This one has ${fileSize(file.size)}.` : "";
  if (file && dataset) dataset.value = "";
  if (file && !name.value) name.value = file.name.replace(/\.zip$/i, "").toLowerCase().replace(/[^a-z0-9_.-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 64);
}

/** @param {string} message empty takes it away */
function showError(message) {
  byId("form-error").textContent = message;
  byId("form-error").hidden = !message;
}

/** @param {FormData} fields */
function send(fields) {
  const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
  request.open("POST", form.action);
  request.setRequestHeader("Accept", "application/json");
  request.responseType = "json";
  request.upload.addEventListener("progress", (event) => {
    sending.hidden = false;
    sending.value = event.total ? event.loaded / event.total : 0;
    byId("go").textContent = event.loaded < event.total ? `Sending, ${percent(event.loaded / event.total)}` : "Storing";
  });
  request.addEventListener("loadend", () => {
    const view = request.status === 202 ? request.response?.links?.view : null;
    if (view) {
      location.href = view;
      return;
    }
    setBusy(false);
    showError(errorOf(request.status, request.response).message);
    byId("form-error").scrollIntoView({ block: "nearest" });
  });
  request.send(fields);
}

/** @param {boolean} busy */
function setBusy(busy) {
  for (const button of form.querySelectorAll("button")) button.disabled = busy;
  sending.hidden = true;
  byId("go").textContent = busy ? "Sending" : "Train";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const [file] = data.files ?? [];
  const fields = new FormData(form);
  const button = /** @type {HTMLButtonElement | null} */ (/** @type {SubmitEvent} */ (event).submitter);
  if (button?.name) fields.set(button.name, button.value);
  if (!file) fields.delete("data");
  if (!file && !dataset?.value) showError("A zip file with pictures is wanted, or data that are here already.");
  else if (file && file.size > mostBytes) showError(`This file has ${fileSize(file.size)}; at most ${form.dataset.maxMb} MB can be sent.`);
  else {
    showError("");
    setBusy(true);
    send(fields);
  }
});

const zone = byId("zip-drop");
for (const kind of ["dragover", "dragleave", "drop"]) {
  zone.addEventListener(kind, (event) => {
    event.preventDefault();
    zone.classList.toggle("over", kind === "dragover");
    const files = kind === "drop" ? /** @type {DragEvent} */ (event).dataTransfer?.files : null;
    if (files?.length) {
      data.files = files;
      showData();
    }
  });
}
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault()); // beside it: stay on this page
data.addEventListener("change", showData);
dataset?.addEventListener("change", () => {
  if (dataset.value) data.value = "";
  showData();
});
form.addEventListener("change", showKind);
addEventListener("pageshow", () => setBusy(false)); // also when a person comes back
for (const [field, value] of new URLSearchParams(location.search)) {
  const input = form.elements.namedItem(field); // as the page of a check has them
  if (field !== "data" && input && "value" in input) input.value = value;
}
showKind();
showData(); // a file may have been chosen before this was loaded
