// The parts of a training's page that are tables: the report on the data, the figures, the confusion matrix.
import { el } from "./dom.js";
import { percent, plural } from "./format.js";

const MOST_ROWS = 200;
/** Names of figures as people read them. @type {Record<string, string>} */
const FIGURES = {
  AP: "AP", AP50: "AP50", AP75: "AP75", AP_small: "AP, small", AP_medium: "AP, medium", AP_large: "AP, large",
  mask_AP: "AP of masks", mask_AP50: "AP50 of masks", mask_AP75: "AP75 of masks", accuracy: "Accuracy", f1: "F1, mean of the classes",
};

/** @param {string} name */
export function figureName(name) {
  return FIGURES[name] ?? name;
}

/** A metric: shares as percent, all else as a number; below 0 there was nothing to measure. @param {string} name @param {number} value */
export function figure(name, value) {
  if (value < 0) return "–";
  return name === "loss" ? short(value) : `${(100 * value).toFixed(1)} %`;
}

/** @param {number} value */
export function short(value) {
  return value === 0 ? "0" : Math.abs(value) >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/**
 * @param {string[]} head
 * @param {(string | Node)[][]} rows the first cell of each is its heading
 * @param {string} [className]
 */
export function table(head, rows, className = "") {
  const cells = (/** @type {(string | Node)[]} */ row) => row.map((cell, index) => (index === 0 ? el("th", { scope: "row" }, cell) : el("td", {}, cell)));
  const columns = el("tr", {}, ...head.map((text) => (text ? el("th", { scope: "col", text }) : el("td"))));
  return el("table", { class: className }, el("thead", {}, columns), el("tbody", {}, ...rows.map((row) => el("tr", {}, ...cells(row)))));
}

/** @param {string} label @param {Node} content */
function scrolling(label, content) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, content);
}

/** @param {any} report @returns {Node[]} */
export function reportParts(report) {
  const there = report.classes.filter((/** @type {any} */ count) => count.images);
  const parts = [
    el("p", {}, `${report.format}: ${plural(report.images, "image")} that can be used`, report.kind !== "classification" && report.empty_images ? `, ${report.empty_images} of them without objects.` : "."),
  ];
  if (there.length) parts.push(scrolling("Classes", table(["Class", "Images", "Objects"], there.map((/** @type {any} */ count) => [count.label, String(count.images), String(count.objects)]))));
  const counts = Object.entries(report.problem_counts);
  if (!counts.length) return [...parts, el("p", { class: "note", text: "Nothing is wrong with them." })];
  parts.push(el("h3", { class: "sub", text: "What is wrong" }));
  parts.push(el("ul", { class: "labels" }, ...counts.map(([code, count]) => el("li", {}, el("code", { text: code }), el("span", { class: "count", text: String(count) })))));
  const rows = report.problems.slice(0, MOST_ROWS).map((/** @type {any} */ problem) => [
    problem.file === "." ? "all of it" : problem.file,
    el("span", { class: problem.fatal ? "fatal" : "", text: `${problem.fatal ? "Must be mended: " : ""}${problem.message}` }),
  ]);
  parts.push(scrolling("Problems", table(["File", "What"], rows, "problems")));
  const all = counts.reduce((sum, [, count]) => sum + Number(count), 0);
  if (all > rows.length) parts.push(el("p", { class: "note", text: `And ${plural(all - rows.length, "more")}.` }));
  return parts;
}

/** The figures on the part held out. @param {any} result @returns {Node[]} */
export function resultParts(result) {
  const { run, images, device } = result;
  const held = Object.entries(run.held_out ?? {});
  const first = ["AP50", "AP", "mask_AP50", "mask_AP", "accuracy", "f1"].filter((name) => run.held_out?.[name] !== undefined);
  const parts = [];
  if (first.length) parts.push(el("dl", { class: "big" }, ...first.map((name) => el("div", {}, el("dt", { text: figureName(name) }), el("dd", { text: figure(name, run.held_out[name]) })))));
  const ending = { completed: "All epochs were done.", "stopped early": "It ended early, as nothing got better." }[/** @type {string} */ (run.ending)] ?? "";
  const kept = run.best ? ` The weights of epoch ${run.best.epoch} are kept.` : "";
  const measured = held.length ? `Measured on ${plural(images.test ?? 0, "image")} that it never learnt from. ` : "No images were held out, so nobody knows. ";
  parts.push(el("p", { class: "note", text: `${measured}Learnt from ${plural(images.train ?? 0, "image")}. ${ending}${kept} Computed on: ${device}.` }));
  if (run.table) parts.push(...classTables(run.table));
  else if (held.length) parts.push(el("h3", { class: "sub", text: "All figures" }), scrolling("All figures", table(["Figure", "Held out"], held.map(([name, value]) => [figureName(name), figure(name, Number(value))]))));
  return parts;
}

/** @param {{labels: string[], confusion: number[][], per_class: Record<string, any>}} scores */
function classTables({ labels, confusion, per_class: perClass }) {
  const rows = labels.map((label) => {
    const { precision, recall, f1, support } = perClass[label];
    return [label, percent(precision), percent(recall), percent(f1), String(support)];
  });
  const matrix = table(["is \\ said", ...labels], confusion.map((row, index) => [labels[index], ...row.map(String)]), "confusion");
  for (const [index, row] of [...matrix.querySelectorAll("tbody tr")].entries()) {
    const sum = confusion[index].reduce((one, other) => one + other, 0) || 1;
    for (const [column, cell] of [.../** @type {NodeListOf<HTMLElement>} */ (row.querySelectorAll("td"))].entries()) {
      cell.style.setProperty("--share", String(confusion[index][column] / sum));
      cell.classList.toggle("right", index === column);
    }
  }
  return [
    el("h3", { class: "sub", text: "By class" }),
    scrolling("By class", table(["Class", "Precision", "Recall", "F1", "Images"], rows)),
    el("h3", { class: "sub", text: "Which class was taken for which" }),
    el("p", { class: "note", text: "A row is what the pictures show, a column what was said." }),
    scrolling("Confusion matrix", matrix),
  ];
}
