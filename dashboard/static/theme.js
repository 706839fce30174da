// Light, dark, or as the system says. Loaded before the page is drawn, so that it never flashes in the other one.
"use strict";
(() => {
  const THEMES = ["auto", "light", "dark"];
  let theme = "auto";
  try { theme = localStorage.getItem("titan-theme") || "auto"; } catch { /* no storage: as the system says */ }

  const show = (button) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    if (button) button.textContent = `Theme: ${theme}`;
  };

  show(null);
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    if (!button) return;
    button.hidden = false;
    show(button);
    button.addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      try { localStorage.setItem("titan-theme", theme); } catch { /* then for this page only */ }
      show(button);
    });
  });
})();
