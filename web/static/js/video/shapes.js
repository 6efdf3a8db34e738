// A counting line with its arrow, and a zone, as SVG in the pixels of the picture.
import { svg } from "../dom.js";

const ARROW = 0.05; // of the longer side

/**
 * @param {{width: number, height: number}} size of the picture
 * @param {string} label what a screen reader says of it
 */
export function shapeLayer({ width, height }, label) {
  return svg("svg", { class: "shapes", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
}

/**
 * The line, and an arrow from its middle towards the right hand of one who looks along it.
 *
 * @param {number[]} line x1, y1, x2, y2 as shares
 * @param {{width: number, height: number}} size
 */
export function lineShape([x1, y1, x2, y2], { width, height }) {
  const [ax, ay, bx, by] = [x1 * width, y1 * height, x2 * width, y2 * height];
  const length = Math.hypot(bx - ax, by - ay) || 1;
  const [dx, dy] = [(bx - ax) / length, (by - ay) / length];
  const reach = ARROW * Math.max(width, height);
  const [mx, my] = [(ax + bx) / 2, (ay + by) / 2];
  const [tx, ty] = [mx - dy * reach, my + dx * reach];
  const wing = (/** @type {number} */ side) => `${tx + (dy + side * dx) * reach * 0.35} ${ty + (-dx + side * dy) * reach * 0.35}`;
  return both(`M${ax} ${ay}L${bx} ${by}M${mx} ${my}L${tx} ${ty}M${wing(1)}L${tx} ${ty}L${wing(-1)}`, "line");
}

/** @param {number[][]} zone corners as shares @param {{width: number, height: number}} size */
export function zoneShape(zone, { width, height }) {
  const closed = zone.length > 2 ? "Z" : "";
  return both(`M${zone.map(([x, y]) => `${x * width} ${y * height}`).join("L")}${closed}`, "zone");
}

/** Dark under light: to be seen on any picture. @param {string} d @param {string} kind */
function both(d, kind) {
  return ["under", "over"].map((layer) => svg("path", { class: `${kind} ${layer}`, d }));
}
