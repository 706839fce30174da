// The time line of a run: a row for each job, with how long it waited for what, and each attempt. Made of the events of
// the run: each says when a job went from one state into the next. One unit of the picture is one second across.
"use strict";
const TitanGantt = (() => {
  const NS = "http://www.w3.org/2000/svg", ROW = 20, OVER = new Set(["COMPLETED", "DEAD", "CANCELLED"]);
  const STEPS = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800];
  const HOW = { COMPLETED: ["good", "succeeded"], QUEUED: ["warn", "lost"], CANCELLED: ["warn", "stopped"], "": ["live", "runs"] };
  const WAITS = { BLOCKED: ["blocked", "waits for others"], QUEUED: ["queued", "waits for a slot"], DELAYED: ["queued", "waits for its time"], FAILED: ["retry", "waits for a retry"], CRASHLOOP: ["retry", "rests"] };

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  const took = (s) => {
    if (s < 0.9995) return `${Math.round(Math.max(0, s) * 1000)}ms`;
    if (s < 59.95) return `${s.toFixed(1)}s`;
    if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
    return s < 86400 ? `${Math.floor(s / 3600)}h${two((s % 3600) / 60)}m` : `${Math.floor(s / 86400)}d${two((s % 86400) / 3600)}h`;
  };
  // As the server shows instants, wherever the browser is.
  const offset = Number(document.body.dataset.offset || 0);
  const clock = (wall) => new Date((wall + offset) * 1000).toISOString().slice(11, 19);

  return class {
    static took = took;
    static clock = clock;

    constructor(box, { onSelect, linkOf }) {
      Object.assign(this, { box, onSelect, linkOf });
      this.rows = new Map();
      this.absolute = false;
      this.names = document.createElement("div");
      this.names.className = "gantt-names";
      this.axis = make("svg", { class: "axis", width: "100%", height: ROW, "aria-hidden": "true" });
      this.svg = make("svg", { class: "gantt", preserveAspectRatio: "none", "aria-hidden": "true" });
      const corner = document.createElement("span");
      corner.className = "gantt-corner";
      box.replaceChildren(corner, this.axis, this.names, this.svg);
      this.svg.addEventListener("click", (event) => {
        const bar = event.target.closest("[data-job]");
        if (bar) this.onSelect(bar.dataset.job);
      });
    }

    // jobs as the API tells them, and events after those that were added before.
    add(jobs, events) {
      for (const job of jobs) this.row(job.job_id).job = job;
      for (const event of events) this.take(this.row(event.job_id), event);
    }

    row(id) {
      let row = this.rows.get(id);
      if (!row) {
        const link = document.createElement("a");
        link.href = this.linkOf(id);
        link.dataset.job = link.title = link.textContent = id;
        row = { id, job: null, parts: [], drawn: 0, group: make("g", { transform: `translate(0 ${this.rows.size * ROW})`, "data-job": id }), link };
        this.names.append(link);
        this.svg.append(row.group);
        this.rows.set(id, row);
      }
      return row;
    }

    take(row, { before, after, wall, attempt, worker }) {
      const last = row.parts[row.parts.length - 1];
      if (before === after && (!last || last.attempt === attempt)) return;
      if (last) Object.assign(last, { to: wall, next: after });
      else if (row.job && row.job.submitted_wall) row.parts.push({ state: before, from: row.job.submitted_wall, to: wall, next: after, attempt: 0 });
      row.parts.push({ state: after, from: wall, to: 0, next: "", attempt, worker });
    }

    // What is drawn of a job of which no events are known.
    partsOf({ parts, job }) {
      if (parts.length || !job) return parts;
      const { submitted_wall: submitted, started_wall: started, finished_wall: finished, state, worker } = job;
      const ran = started ? [{ state: "RUNNING", from: started, to: finished || 0, next: finished ? state : "", attempt: 0, worker }] : [];
      if (!submitted) return ran;
      return [{ state: started ? "QUEUED" : state, from: submitted, to: started || finished || 0, next: "RUNNING", attempt: 0 }, ...ran];
    }

    draw(now) {
      const all = [...this.rows.values()].map((row) => [row, this.partsOf(row).filter((part) => !OVER.has(part.state))]);
      const starts = all.flatMap(([, parts]) => parts.slice(0, 1).map((part) => part.from));
      if (!starts.length) return;
      this.from = starts.reduce((one, other) => Math.min(one, other));
      const until = all.reduce((most, [, parts]) => parts.reduce((end, part) => Math.max(end, part.to || now), most), this.from);
      this.span = Math.max((until - this.from) * 1.02, 0.05);
      for (const [row, parts] of all) this.fill(row, parts, now);
      const height = this.rows.size * ROW;
      this.svg.setAttribute("viewBox", `0 0 ${this.span} ${height}`);
      this.svg.setAttribute("height", height);
      this.drawAxis();
      performance.mark("titan:gantt-drawn");
    }

    fill(row, parts, now) {
      const isOpen = parts.some((part) => !part.to), same = row.drawn === parts.length && row.start === this.from;
      if (same && !row.wasOpen && !isOpen) return;
      row.group.replaceChildren(...parts.map((part) => this.bar(part, row.id, now)));
      Object.assign(row, { drawn: parts.length, start: this.from, wasOpen: isOpen });
    }

    bar(part, id, now) {
      const end = part.to || now, isRun = part.state === "RUNNING";
      const [tone, words] = isRun ? HOW[part.next] || ["bad", "failed"] : WAITS[part.state] || ["queued", part.state];
      const [y, height] = isRun ? [3, 14] : tone === "blocked" ? [9, 2] : [7, 6];
      const told = `${id}: ${isRun && part.attempt ? `attempt ${part.attempt} ` : ""}${words}, ${took(Math.max(0, end - part.from))}${part.worker && isRun ? `, on ${part.worker}` : ""}`;
      return make("rect", { x: (part.from - this.from).toFixed(4), y, width: Math.max(0, end - part.from).toFixed(4), height, class: `seg ${tone}` }, make("title", {}, told));
    }

    drawAxis() {
      const about = Math.max(2, Math.floor((this.axis.clientWidth || 400) / 90));
      const step = STEPS.find((one) => one * about >= this.span) || this.span / about;
      const first = this.absolute ? Math.ceil(this.from / step) * step - this.from : 0, marks = [];
      for (let at = first; at <= this.span; at += step) {
        const x = `${((100 * at) / this.span).toFixed(2)}%`;
        marks.push(make("line", { x1: x, x2: x, y1: 0, y2: ROW, class: "grid" }));
        const text = this.absolute ? clock(this.from + at) : at ? `+${took(at)}` : "0";
        if (at < this.span * 0.9) marks.push(make("text", { x, dx: 3, y: 14 }, text));
      }
      this.axis.replaceChildren(...marks);
    }

    select(id) {
      for (const row of this.rows.values()) {
        const isIt = row.id === id;
        row.group.classList.toggle("chosen", isIt);
        row.link.classList.toggle("chosen", isIt);
        if (isIt) row.link.setAttribute("aria-current", "true");
        else row.link.removeAttribute("aria-current");
      }
    }
  };
})();
