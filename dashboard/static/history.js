// Says in words which attempt the pointer or the focus is at.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const which = document.getElementById("which"), lanes = document.getElementById("lanes");
  if (!which || !lanes) return;
  const say = (event) => { which.textContent = event.target.closest("[data-words]")?.dataset.words || ""; };
  lanes.addEventListener("pointerover", say);
  lanes.addEventListener("focusin", say);
});
