// Building elements without innerHTML: text is always text.

/**
 * @typedef {object} Props
 * @property {string} [class]
 * @property {string} [text] the text content
 * @property {Record<string, EventListener | ((event: any) => void)>} [on] listeners
 */

/**
 * An element with attributes and children; null and false are left out.
 *
 * @param {string} tag
 * @param {Props & Record<string, any>} [props]
 * @param {...(Node | string | null | undefined | false)} children
 * @returns {HTMLElement}
 */
export function el(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/**
 * An SVG element with attributes.
 *
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @returns {SVGElement}
 */
export function svg(tag, attributes = {}) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}

/**
 * An icon of templates/icons.html. Decoration: hidden from screen readers.
 *
 * @param {string} name
 * @param {string} [className]
 */
export function icon(name, className = "icon") {
  const image = svg("svg", { class: className, "aria-hidden": "true", focusable: "false" });
  image.append(svg("use", { href: `#icon-${name}` }));
  return image;
}

/**
 * A button that shows only an icon; `label` is its name and its tooltip.
 *
 * @param {string} name
 * @param {string} label
 * @param {(event: MouseEvent) => void} onClick
 * @param {string} [className]
 */
export function iconButton(name, label, onClick, className = "") {
  return el("button", { type: "button", class: `icon-button ${className}`, "aria-label": label, title: label, on: { click: onClick } }, icon(name));
}

/**
 * A link that shows only an icon.
 *
 * @param {string} name
 * @param {string} label
 * @param {string} href
 * @param {Record<string, any>} [props]
 */
export function iconLink(name, label, href, props = {}) {
  return el("a", { class: "icon-button", href, "aria-label": label, title: label, ...props }, icon(name));
}

/**
 * A small square in the colour of a class.
 *
 * @param {string | undefined} colour
 */
export function swatch(colour) {
  const square = el("span", { class: "swatch", "aria-hidden": "true" });
  if (colour) square.style.setProperty("--class-colour", colour);
  return square;
}

/** The head of a table whose columns cannot be sorted. @param {string[]} columns */
export function plainHead(columns) {
  return el("thead", {}, el("tr", {}, ...columns.map((text) => el("th", { scope: "col" }, el("span", { class: "plain-head", text })))));
}

/**
 * An element that has to be there.
 *
 * @template {HTMLElement} T
 * @param {string} id
 * @returns {T}
 */
export function byId(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element #${id}`);
  return /** @type {T} */ (element);
}
