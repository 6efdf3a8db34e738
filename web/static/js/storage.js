// What the page remembers in this browser. Storage may be forbidden or full: then it forgets.

/**
 * @param {string} key
 * @returns {string | null}
 */
export function recall(key) {
  try {
    return localStorage.getItem(`dropsight.${key}`);
  } catch {
    return null;
  }
}

/**
 * @param {string} key
 * @param {string | null} value null forgets
 */
export function remember(key, value) {
  try {
    if (value === null) localStorage.removeItem(`dropsight.${key}`);
    else localStorage.setItem(`dropsight.${key}`, value);
  } catch {
    // nothing to do
  }
}
