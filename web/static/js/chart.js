// A small line chart as SVG: some series over the epochs, grid, legend with the newest values.
import { el, svg } from "./dom.js";

const WIDTH = 460;
const HEIGHT = 200;
const LEFT = 44;
const BOTTOM = 22;
const MOST_POINTS = 400; // more do not fit into the width

/**
 * @typedef {{name: string, points: [number, number][]}} Series epoch and value, by epoch
 *
 * @param {string} title
 * @param {Series[]} series
 * @param {{last: number, best?: number | null, show: (value: number) => string, tick: (value: number) => string, most?: number}} options
 *   `last`: the epoch at the right end; `best`: an epoch to mark; `show`, `tick`: a value in words, and on the scale; `most`: the end of the scale, else
 *   what the values need
 * @returns {HTMLElement}
 */
export function chart(title, series, { last: newestEpoch, best = null, show, tick, most }) {
  const points = series.flatMap((each) => each.points);
  const last = Math.max(2, newestEpoch);
  const top = most ?? scaleEnd(points.map(([, value]) => value));
  const x = (/** @type {number} */ epoch) => LEFT + ((WIDTH - LEFT - 8) * (epoch - 1)) / (last - 1);
  const y = (/** @type {number} */ value) => 8 + (HEIGHT - BOTTOM - 8) * (1 - Math.min(value, top) / top);
  const newest = series.map(({ name, points: own }) => `${name} ${own.length ? show(own[own.length - 1][1]) : "not known yet"}`);
  const image = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}, epoch ${last}: ${newest.join(", ")}` });
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const level = y(top * share);
    image.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - 8, y1: level, y2: level }));
    image.append(words(LEFT - 6, level + 4, "end", tick(top * share)));
  }
  for (const epoch of [1, last]) image.append(words(x(epoch), HEIGHT - 6, epoch === 1 ? "start" : "end", epoch === 1 ? "epoch 1" : String(epoch)));
  if (best !== null) {
    image.append(svg("line", { class: "best", x1: x(best), x2: x(best), y1: 8, y2: HEIGHT - BOTTOM }));
    if (best > last / 8 && best < last * 0.92) image.append(words(x(best), HEIGHT - 6, "middle", `best ${best}`));
  }
  for (const [number, { points: own }] of series.entries()) {
    const shown = thinned(own);
    const className = `series-${number % 5}`;
    if (shown.length > 1) image.append(svg("polyline", { class: className, points: shown.map(([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`).join(" ") }));
    for (const [epoch, value] of shown.slice(-1)) image.append(svg("circle", { class: className, cx: x(epoch), cy: y(value), r: 3 }));
  }
  const keys = newest.map((text, number) => el("span", { class: `key series-${number % 5}`, text }));
  return el("figure", { class: "chart panel" }, el("figcaption", {}, el("strong", { text: title }), ...keys), /** @type {any} */ (image));
}

/**
 * The end of a scale from 0. The first epochs of a loss are far above all others, which would then lie flat.
 *
 * @param {number[]} values
 */
function scaleEnd(values) {
  const sorted = values.filter(Number.isFinite).sort((one, other) => one - other);
  if (!sorted.length) return 1;
  const most = sorted[sorted.length - 1];
  const usual = sorted[Math.floor((sorted.length - 1) * 0.95)];
  const end = Math.min(most, usual * 1.5) || 1;
  const step = 10 ** Math.floor(Math.log10(end));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * step).find((limit) => limit >= end * 0.999) ?? end;
}

/** @param {[number, number][]} points @returns {[number, number][]} */
function thinned(points) {
  const step = Math.ceil(points.length / MOST_POINTS);
  return step < 2 ? points : points.filter((_, index) => index % step === 0 || index === points.length - 1);
}

/** @param {number} x @param {number} y @param {string} anchor @param {string} text */
function words(x, y, anchor, text) {
  const element = svg("text", { x, y, "text-anchor": anchor });
  element.textContent = text;
  return element;
}
