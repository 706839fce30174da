// Takes a file that is dropped onto the text, goes to the line of an error, and draws the graph of a preview.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const MAX_SHOWN = 256 * 1024;
  const text = document.getElementById("text"), file = document.getElementById("file");
  const box = document.getElementById("graph-box"), graph = document.getElementById("graph");

  if (text) {
    const takes = (event) => { if ([...event.dataTransfer.types].includes("Files")) event.preventDefault(); };
    text.addEventListener("dragover", takes);
    text.addEventListener("drop", async (event) => {
      const [dropped] = event.dataTransfer.files;
      if (!dropped) return;
      event.preventDefault();
      if (dropped.size > MAX_SHOWN) { file.files = event.dataTransfer.files; return; }
      file.value = "";
      text.value = await dropped.text();
    });
    document.querySelectorAll("[data-line]").forEach((link) => link.addEventListener("click", (event) => {
      event.preventDefault();
      const lines = text.value.split("\n"), number = Number(link.dataset.line) - 1;
      const start = lines.slice(0, number).reduce((sum, line) => sum + line.length + 1, 0);
      text.focus();
      text.setSelectionRange(start, start + (lines[number] || "").length);
      text.scrollTop = (text.scrollHeight / lines.length) * Math.max(0, number - 4);
    }));
  }

  if (box && graph) {
    const rows = [...document.querySelectorAll("tr[data-job]")];
    graph.hidden = false;
    const drawing = new TitanGraph(box, {
      tones: JSON.parse(graph.dataset.tones),
      symbols: JSON.parse(graph.dataset.symbols),
      onSelect: (id) => { drawing.select(id); rows.find((row) => row.dataset.job === id)?.focus(); },
    });
    drawing.draw(TitanGraph.jobsOf(rows));
  }
});
