// Copying a link. The clipboard API needs https or localhost; a server in the house has often neither.
import { el } from "./dom.js";
import { toast } from "./toast.js";

/** @param {string} text */
function copyOldWay(text) {
  const field = /** @type {HTMLTextAreaElement} */ (el("textarea", { class: "visually-hidden", readonly: true, "aria-hidden": "true" }));
  const focused = document.activeElement;
  field.value = text;
  document.body.append(field);
  field.select();
  let copied = false;
  try {
    copied = document.execCommand("copy");
  } catch {
    copied = false;
  }
  field.remove();
  if (focused instanceof HTMLElement) focused.focus();
  return copied;
}

/** @param {string} text */
function showToCopy(text) {
  const field = /** @type {HTMLInputElement} */ (el("input", { type: "text", readonly: true, "aria-label": "Link" }));
  field.value = text;
  const form = el("form", { method: "dialog" }, el("h2", { id: "copy-title", text: "Copy this link" }), field, el("div", { class: "dialog-actions" }, el("button", { class: "button primary", text: "Close" })));
  const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { "aria-labelledby": "copy-title" }, form));
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  field.select();
}

/** @param {string} link */
export async function copyLink(link) {
  try {
    await navigator.clipboard.writeText(link);
  } catch {
    if (!copyOldWay(link)) {
      showToCopy(link);
      return;
    }
  }
  toast("The link is copied.");
}

/**
 * The phone's own sheet where there is one, else the clipboard.
 *
 * @param {string} link
 * @param {string} title
 */
export async function shareLink(link, title) {
  if (navigator.share && matchMedia("(pointer: coarse)").matches) {
    try {
      await navigator.share({ title, url: link });
      return;
    } catch (error) {
      if (error instanceof DOMException && error.name === "AbortError") return;
    }
  }
  await copyLink(link);
}
