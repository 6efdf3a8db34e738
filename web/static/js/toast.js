// Short messages at the foot of the page, with at most one action; and questions.
import { byId, el } from "./dom.js";

/**
 * @param {string} message
 * @param {{action?: string, onAction?: () => void, onEnd?: () => void, ms?: number}} [options] `onEnd` is called once
 *   the toast is gone without its action having been taken.
 */
export function toast(message, { action, onAction, onEnd, ms = 4000 } = {}) {
  const box = el("div", { class: "toast" }, el("span", { text: message }));
  let timer = 0;
  const close = (/** @type {boolean} */ acted) => {
    clearTimeout(timer);
    if (!box.isConnected) return;
    box.remove();
    if (acted) onAction?.();
    else onEnd?.();
  };
  const start = () => {
    timer = setTimeout(() => close(false), ms);
  };
  if (action) box.append(el("button", { type: "button", text: action, on: { click: () => close(true) } }));
  for (const event of ["pointerenter", "focusin"]) box.addEventListener(event, () => clearTimeout(timer));
  for (const event of ["pointerleave", "focusout"]) box.addEventListener(event, start);
  byId("toasts").append(box);
  start();
}

/**
 * A dialog that asks before something that cannot be undone.
 *
 * @param {string} title
 * @param {string} text
 * @param {string} yes
 * @returns {Promise<boolean>}
 */
export function ask(title, text, yes) {
  return new Promise((resolve) => {
    const heading = el("h2", { id: "dialog-title", text: title });
    const no = el("button", { value: "no", class: "button quiet", text: "Cancel", autofocus: true });
    const form = el("form", { method: "dialog" }, heading, el("p", { text }), el("div", { class: "dialog-actions" }, no, el("button", { value: "yes", class: "button primary", text: yes })));
    const dialog = /** @type {HTMLDialogElement} */ (el("dialog", { "aria-labelledby": "dialog-title" }, form));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
