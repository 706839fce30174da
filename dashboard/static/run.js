// The page of a run: draws its graph and its time line from the table of jobs, keeps all three up to date by asking what
// has changed since, and shows the job that is chosen in the panel, which has an address of its own.
"use strict";
(() => {
  const ASK_MS = 2000;
  const page = document.getElementById("run"), panel = document.getElementById("panel");
  const body = document.querySelector("#jobs tbody");
  if (!page || !body) return;
  const tones = JSON.parse(page.dataset.tones), symbols = JSON.parse(page.dataset.symbols);
  const rows = new Map([...body.rows].map((row) => [row.dataset.job, row]));
  let version = 0, isFinal = false, busy = false, ahead = 0, asked = 0;

  const linkOf = (id) => `${page.dataset.path}?job=${encodeURIComponent(id)}`;
  const chosen = () => new URLSearchParams(location.search).get("job");

  for (const id of ["graph", "timeline"]) document.getElementById(id).hidden = false;
  const graph = new TitanGraph(document.getElementById("graph-box"), { tones, symbols, onSelect: (id) => choose(id) });
  const gantt = new TitanGantt(document.getElementById("gantt-box"), { onSelect: (id) => choose(id), linkOf });
  // What was learnt while the graph was being laid out is shown afterwards.
  const drawn = () => graph.draw(TitanGraph.jobsOf(rows.values())).then(() => {
    for (const [id, row] of rows) graph.paint(id, row.dataset.state);
    mark();
  });

  const mark = () => {
    graph.select(chosen());
    gantt.select(chosen());
    for (const [id, row] of rows) row.classList.toggle("chosen", id === chosen());
  };

  // ── the panel ──

  const showPanel = async (focus) => {
    const address = location.href;
    mark();
    try {
      const answer = await fetch(address, { headers: { "X-Fragment": "1", Accept: "text/html" }, cache: "no-store" });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("panel");
      if (address !== location.href) return; // another one was chosen meanwhile
      if (!fresh) throw new Error("no panel");
      panel.className = fresh.className;
      panel.replaceChildren(...[...fresh.childNodes].map((node) => document.importNode(node, true)));
      if (focus) document.getElementById("panel-title")?.focus();
    } catch { location.assign(address); }
  };

  const choose = (id) => {
    history.pushState(null, "", linkOf(id));
    return showPanel(Boolean(id));
  };

  const close = async () => {
    const id = chosen();
    await choose("");
    graph.nodes.get(id)?.group.focus();
  };

  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const link = event.target.closest("a[data-job]"), closing = event.target.closest("#panel-close");
    if (!link && !closing) return;
    event.preventDefault();
    if (closing) close(); else choose(link.dataset.job);
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && chosen()) close(); });
  addEventListener("popstate", () => showPanel(false));

  // ── what has changed ──

  const cell = (row, number, text) => { if (row.cells[number].textContent !== text) row.cells[number].textContent = text; };

  const showState = (row, state) => {
    const tone = tones[state] || "wait", badge = document.createElement("span"), sign = document.createElement("span");
    badge.className = `state ${tone}`;
    sign.ariaHidden = "true";
    sign.textContent = symbols[tone];
    badge.append(sign, ` ${state}`);
    row.cells[1].replaceChildren(badge);
  };

  const newRow = (job) => {
    const row = body.rows[0].cloneNode(true), link = row.querySelector("a");
    link.href = linkOf(job.job_id);
    link.textContent = link.dataset.job = row.dataset.job = job.job_id;
    row.dataset.parents = job.parents.join(" ");
    row.cells[7].textContent = job.parents.join(", ");
    body.append(row);
    rows.set(job.job_id, row);
    return row;
  };

  const showJob = (job, now) => {
    const row = rows.get(job.job_id) || newRow(job), { started_wall: started, finished_wall: finished } = job;
    if (row.dataset.state !== job.state) { row.dataset.state = job.state; showState(row, job.state); graph.paint(job.job_id, job.state); }
    cell(row, 2, job.worker);
    cell(row, 3, started ? TitanGantt.clock(started) : "");
    cell(row, 4, started ? TitanGantt.took(started - job.submitted_wall) : "");
    row.dataset.started = job.state === "RUNNING" ? started : "";
    cell(row, 5, started ? TitanGantt.took((finished || now) - started) : "");
    cell(row, 6, ["COMPLETED", "RUNNING"].includes(job.state) ? "" : job.reason);
  };

  const learn = ({ run, events, version: reached, now_wall: now }) => {
    const count = rows.size;
    ahead = now - Date.now() / 1000;
    for (const job of run.jobs) showJob(job, now);
    gantt.add(run.jobs, events);
    gantt.draw(now);
    isFinal = run.final && run.version <= reached;
    version = reached;
    if (rows.size > count) drawn();
    mark();
  };

  const ask = async () => {
    if (busy) return;
    busy = true;
    asked = Date.now();
    try {
      const answer = await fetch(`/api/runs/${encodeURIComponent(page.dataset.run)}?since=${version}`, { cache: "no-store" });
      if (answer.ok) learn(await answer.json());
    } catch { /* live.js says that nobody answers */ }
    busy = false;
  };

  document.addEventListener("titan:refreshed", ask);
  setInterval(() => {
    if (document.hidden || isFinal) return;
    if (Date.now() - asked >= ASK_MS) { ask(); return; }
    const now = Date.now() / 1000 + ahead;
    gantt.draw(now);
    for (const row of rows.values()) if (row.dataset.started) cell(row, 5, TitanGantt.took(now - row.dataset.started));
  }, ASK_MS / 2);

  // ── the axis ──

  const axis = document.getElementById("axis");
  axis.addEventListener("click", () => {
    gantt.absolute = !gantt.absolute;
    axis.setAttribute("aria-pressed", String(gantt.absolute));
    gantt.drawAxis();
  });
  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => { graph.fit(); gantt.drawAxis(); }, 150); });

  drawn();
  ask();
})();
