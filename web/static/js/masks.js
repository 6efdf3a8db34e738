// Masks in COCO's compressed run-length encoding, as outlines that SVG can draw.
//
// A mask of a dozen megapixels is never unfolded: its runs are looked at on a grid of so many cells a side at most, and
// the edges of the cells that are set become lines.

/**
 * @typedef {{size: [number, number], counts: string}} Rle height and width; runs
 *
 * @typedef {object} Grid
 * @property {Uint8Array} cells column by column, 1 where the object is
 * @property {number} columns
 * @property {number} rows
 * @property {number} left of the first cell, in pixels of the image
 * @property {number} top
 * @property {number} step pixels a cell
 */

/**
 * The lengths of the runs, column by column, the first of background.
 *
 * Each number is written in groups of five bits, the lowest first, as letters from "0" on; bit 6 says that more
 * groups follow, and bit 5 of the last is the sign. From the fourth on, numbers are differences to the last but one.
 *
 * @param {string} counts
 * @returns {number[]}
 */
export function runsOf(counts) {
  /** @type {number[]} */
  const runs = [];
  for (let at = 0; at < counts.length; ) {
    let value = 0;
    let shift = 0;
    let group;
    do {
      group = counts.charCodeAt(at++) - 48;
      value |= (group & 31) << shift;
      shift += 5;
    } while (group & 32);
    if (group & 16) value |= -1 << shift;
    runs.push(runs.length > 2 ? value + runs[runs.length - 2] : value);
  }
  return runs;
}

/**
 * The object's pixels on a grid, coarse if it is large; null if it has none.
 *
 * @param {Rle} rle
 * @param {number} most cells a side
 * @returns {Grid | null}
 */
export function gridOf({ size: [height], counts }, most) {
  const runs = runsOf(counts);
  let [left, right, top, bottom] = [Infinity, -1, Infinity, -1];
  pieces(runs, height, (first, last, from, to) => {
    left = Math.min(left, first);
    right = Math.max(right, last);
    top = Math.min(top, from);
    bottom = Math.max(bottom, to);
  });
  if (right < 0) return null;
  const step = Math.max(1, Math.ceil(Math.max(right - left + 1, bottom - top) / most));
  const columns = Math.ceil((right - left + 1) / step);
  const rows = Math.ceil((bottom - top) / step);
  const cells = new Uint8Array(columns * rows);
  const middle = step >> 1;
  // A cell is what the pixel in its middle is.
  pieces(runs, height, (first, last, from, to) => {
    const begin = Math.max(0, Math.ceil((from - top - middle) / step));
    const end = Math.min(rows, Math.ceil((to - top - middle) / step));
    if (begin >= end) return;
    for (let column = Math.ceil((first - left - middle) / step); column < columns && left + column * step + middle <= last; column++) {
      cells.fill(1, column * rows + begin, column * rows + end);
    }
  });
  if (!cells.includes(1)) {
    // Thinner than the grid: every cell that it touches.
    pieces(runs, height, (first, last, from, to) => {
      for (let column = Math.floor((first - left) / step); column <= Math.floor((last - left) / step); column++) {
        cells.fill(1, column * rows + Math.floor((from - top) / step), column * rows + Math.ceil((to - top) / step));
      }
    });
  }
  return { cells, columns, rows, left, top, step };
}

/**
 * Calls `piece` with each run of the object, cut into rectangles: first and last column, and rows from (to).
 *
 * @param {number[]} runs
 * @param {number} height
 * @param {(first: number, last: number, from: number, to: number) => void} piece
 */
function pieces(runs, height, piece) {
  let place = 0;
  for (let index = 0; index < runs.length; index++) {
    const begin = place;
    place += runs[index];
    if (index % 2 === 0 || place === begin) continue;
    const [first, last] = [Math.floor(begin / height), Math.floor((place - 1) / height)];
    if (first === last) {
      piece(first, last, begin - first * height, place - first * height);
      continue;
    }
    piece(first, first, begin - first * height, height);
    if (last - first > 1) piece(first + 1, last - 1, 0, height);
    piece(last, last, 0, place - last * height);
  }
}

/**
 * The outline as data of an SVG path, in pixels of the image; holes by the rule "evenodd". Empty for an empty mask.
 *
 * @param {Rle} rle
 * @param {number} most cells of the grid a side
 */
export function outlineOf(rle, most) {
  const grid = gridOf(rle, most);
  if (!grid) return "";
  const { left, top, step, rows } = grid;
  const [height, width] = rle.size;
  const parts = [];
  for (const loop of loopsOf(grid)) {
    /** @type {[number, number][]} the middles of the edges, so that stairs become slopes; straight on is one line */
    const points = [];
    for (let index = 0; index < loop.length; index++) {
      const [from, to] = [loop[index], loop[(index + 1) % loop.length]];
      const x = (Math.floor(from / (rows + 1)) + Math.floor(to / (rows + 1))) / 2;
      const y = ((from % (rows + 1)) + (to % (rows + 1))) / 2;
      const [[x0, y0], [x1, y1]] = [points.at(-2) ?? [NaN, NaN], points.at(-1) ?? [NaN, NaN]];
      if ((x - x1) * (y1 - y0) === (y - y1) * (x1 - x0)) points.pop();
      points.push([x, y]);
    }
    parts.push(`M${points.map(([x, y]) => `${Math.min(width, left + x * step)} ${Math.min(height, top + y * step)}`).join("L")}Z`);
  }
  return parts.join("");
}

/**
 * The closed lines between the cells that are set and the others. A corner's number is column * (rows + 1) + row.
 *
 * @param {Grid} grid
 * @returns {Generator<number[]>}
 */
function* loopsOf({ cells, columns, rows }) {
  const high = rows + 1;
  /** @type {Map<number, number[]>} where lines go from each corner: one way, or two where cells touch corner to corner */
  const ways = new Map();
  const add = (/** @type {number} */ from, /** @type {number} */ to) => {
    const there = ways.get(from);
    if (there) there.push(to);
    else ways.set(from, [to]);
  };
  for (let column = 0; column < columns; column++) {
    for (let row = 0; row < rows; row++) {
      const cell = column * rows + row;
      if (!cells[cell]) continue;
      const corner = column * high + row;
      if (row === 0 || !cells[cell - 1]) add(corner, corner + high);
      if (column === columns - 1 || !cells[cell + rows]) add(corner + high, corner + high + 1);
      if (row === rows - 1 || !cells[cell + 1]) add(corner + high + 1, corner + 1);
      if (column === 0 || !cells[cell - rows]) add(corner + 1, corner);
    }
  }
  for (const first of ways.keys()) {
    while (ways.has(first)) {
      const loop = [];
      let at = first;
      do {
        loop.push(at);
        const there = /** @type {number[]} */ (ways.get(at));
        const next = /** @type {number} */ (there.pop());
        if (!there.length) ways.delete(at);
        at = next;
      } while (at !== first);
      yield loop;
    }
  }
}
