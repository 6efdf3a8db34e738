// The button that goes round: as the system says, light, dark.
import { icon } from "./dom.js";
import { recall, remember } from "./storage.js";

const THEMES = [
  { name: "auto", icon: "theme-auto", label: "Colours: as the system says" },
  { name: "light", icon: "sun", label: "Colours: light" },
  { name: "dark", icon: "moon", label: "Colours: dark" },
];

const dark = matchMedia("(prefers-color-scheme: dark)");
let current = Math.max(0, THEMES.findIndex(({ name }) => name === recall("theme")));

/** True if the page is dark now, whoever decided it. */
export function isDark() {
  return THEMES[current].name === "dark" || (THEMES[current].name === "auto" && dark.matches);
}

function apply() {
  const theme = THEMES[current];
  if (theme.name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.name;
  const button = document.getElementById("theme-toggle");
  if (button) {
    button.setAttribute("aria-label", theme.label);
    button.title = theme.label;
    button.replaceChildren(icon(theme.icon));
    button.hidden = false;
  }
  document.dispatchEvent(new CustomEvent("themechange", { detail: { dark: isDark() } }));
}

document.getElementById("theme-toggle")?.addEventListener("click", () => {
  current = (current + 1) % THEMES.length;
  remember("theme", THEMES[current].name === "auto" ? null : THEMES[current].name);
  apply();
});
dark.addEventListener("change", apply);
apply();
