// Loaded before the first paint, so that a remembered choice of colours does not flash.
(() => {
  try {
    const theme = localStorage.getItem("dropsight.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be forbidden; then the system decides.
  }
})();
