// Draws the samples of the last hours with uPlot, in the colours of the page, and asks for new ones every ten seconds.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const ASK_MS = 10000, HEIGHT = 190;
  const box = document.getElementById("charts");
  if (!box) return;
  let plots = [];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const offset = Number(document.body.dataset.offset || 0);
  const clock = (wall) => (wall === null ? "" : new Date((wall + offset) * 1000).toISOString().slice(11, 19)); // as on all pages
  const axis = () => ({ stroke: colour("--muted"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } });
  const line = (label, name, more = {}) => ({ label, stroke: colour(name), width: 1.5, spanGaps: false, points: { show: false }, ...more });
  const widthOf = (id) => document.getElementById(id).clientWidth || 300;

  const plot = (id, series, data) => {
    const place = document.getElementById(id);
    place.replaceChildren();
    const options = {
      width: widthOf(id), height: HEIGHT, series: [{ label: "Time", value: (_, wall) => clock(wall) }, ...series],
      axes: [{ ...axis(), space: 80, values: (_, walls) => walls.map(clock) }, { ...axis(), size: 60 }],
      scales: { x: { range: () => [Date.now() / 1000 - box.dataset.span, Date.now() / 1000] }, y: { range: (_, least, most) => [0, Math.max(1, most * 1.1)] } }, cursor: { y: false },
    };
    return [id, new uPlot(options, data, place)];
  };

  // A gap is a row of nulls half way between its neighbours.
  const columns = ({ samples, step_s: step }) => {
    const rows = samples.map((row, i) => row || [(samples[i - 1]?.[0] || 0) + step, null, null, null, null]);
    return [0, 1, 2, 3, 4].map((column) => rows.map((row) => row[column]));
  };

  const draw = (found) => {
    const [wall, used, slots, queued, rate] = columns(found);
    const data = [[wall, used, slots], [wall, queued], [wall, rate]];
    box.hidden = !wall.length;
    if (!wall.length) return;
    if (plots.length) { plots.forEach(([, one], i) => one.setData(data[i])); return; }
    plots = [
      plot("chart-load", [line("in use", "--used", { fill: colour("--live-ground") }), line("slots", "--muted", { dash: [4, 4] })], data[0]),
      plot("chart-queue", [line("waiting", "--warn", { fill: colour("--warn-ground") })], data[1]),
      plot("chart-rate", [line("per minute", "--good", { fill: colour("--good-ground") })], data[2]),
    ];
  };

  const ask = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(`/api/samples?span=${encodeURIComponent(box.dataset.span)}`, { cache: "no-store" });
      if (answer.ok) draw(await answer.json());
    } catch { /* live.js says that nobody answers */ }
  };

  const again = () => { plots.forEach(([, one]) => one.destroy()); plots = []; ask(); };
  new MutationObserver(again).observe(document.documentElement, { attributeFilter: ["data-theme"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  addEventListener("resize", () => plots.forEach(([id, one]) => one.setSize({ width: widthOf(id), height: HEIGHT })));
  document.addEventListener("visibilitychange", ask);
  setInterval(ask, ASK_MS);
  ask();
});
