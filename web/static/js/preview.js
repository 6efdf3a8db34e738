// The thumbnail of a video moves while it is pointed at or has the focus.

/**
 * @param {HTMLElement} target what is pointed at
 * @param {HTMLImageElement} image shows the thumbnail
 * @param {string} preview address of the moving one
 */
export function playOnHover(target, image, preview) {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const still = image.src;
  for (const name of ["pointerenter", "focusin"]) target.addEventListener(name, () => (image.src = preview));
  for (const name of ["pointerleave", "focusout"]) target.addEventListener(name, () => (image.src = still));
}
