// A graph of jobs as SVG: nodes with their states, edges, zooming, moving, and going about by keyboard. Everything is
// made by DOM methods: names are text. Where things go is worked out by layout.js; without it, in plain columns.
"use strict";
const TitanGraph = (() => {
  const NS = "http://www.w3.org/2000/svg", WIDTH = 188, HEIGHT = 40, LETTERS = 22, MOST_HEIGHT = 520, FAR = 2.5;

  const make = (name, attributes = {}, ...children) => {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const short = (text) => ([...text].length > LETTERS ? `${[...text].slice(0, LETTERS - 1).join("")}…` : text);
  const keep = (value, least, most) => Math.min(Math.max(value, least), most);

  // Columns by the longest way from a root, where there is no worker.
  const plainLayout = (nodes, edges) => {
    const depth = new Map(nodes.map((node) => [node, 0]));
    for (let round = 0, more = true; more && round < nodes.length; round++) {
      more = false;
      for (const [from, to] of edges) if (depth.get(to) <= depth.get(from)) { depth.set(to, depth.get(from) + 1); more = true; }
    }
    const filled = new Map(), places = new Map();
    for (const node of nodes) {
      const column = depth.get(node), row = filled.get(column) || 0;
      filled.set(column, row + 1);
      places.set(node, [column * (WIDTH + 56) + WIDTH / 2, row * (HEIGHT + 12) + HEIGHT / 2]);
    }
    const paths = edges.map(([from, to]) => {
      const [x1, y1] = places.get(from), [x2, y2] = places.get(to);
      return [[x1 + WIDTH / 2, y1], [x2 - WIDTH / 2, y2]];
    });
    const placed = nodes.map((node) => places.get(node));
    const most = (axis, half) => Math.max(...placed.map((place) => place[axis])) + half;
    return { placed, paths, width: most(0, WIDTH / 2), height: most(1, HEIGHT / 2) };
  };

  // Across or down: whichever is read with less shrinking in a box of this shape.
  const directionOf = (nodes, edges, aspect) => {
    if (nodes.length > 60) return "LR";
    const { width, height } = plainLayout(nodes, edges);
    const columns = width / (WIDTH + 56), rows = height / (HEIGHT + 12);
    return Math.max(width, height * aspect) <= Math.max(rows * (WIDTH + 12), columns * (HEIGHT + 56) * aspect) ? "LR" : "TB";
  };

  const layout = (nodes, edges, aspect) => new Promise((resolve) => {
    const plain = () => resolve(plainLayout(nodes, edges));
    let worker;
    try { worker = new Worker("/static/layout.js"); } catch { plain(); return; }
    worker.onmessage = ({ data }) => { worker.terminate(); resolve(data); };
    worker.onerror = () => { worker.terminate(); plain(); };
    worker.postMessage({ nodes, edges, width: WIDTH, height: HEIGHT, direction: directionOf(nodes, edges, aspect) });
  });

  return class {
    // `tones` and `symbols` say how states look; `onSelect` gets the id of the job that was chosen.
    constructor(box, { tones, symbols, onSelect }) {
      Object.assign(this, { box, tones, symbols, onSelect });
      this.nodes = new Map();
      this.chosen = null;
      this.svg = make("svg", { class: "graph", role: "group", "aria-label": "Graph of the jobs" });
      box.replaceChildren(this.svg);
      this.listen();
    }

    // jobs: [{ id, state, parents }], in the order of the keyboard.
    async draw(jobs) {
      const known = new Set(jobs.map(({ id }) => id));
      this.edges = jobs.flatMap(({ id, parents }) => [...new Set(parents)].filter((parent) => known.has(parent) && parent !== id).map((parent) => [parent, id]));
      const found = await layout([...known], this.edges, (this.box.clientWidth || 400) / MOST_HEIGHT);
      this.bounds = { x: -12, y: -12, w: found.width + 24, h: found.height + 24 };
      this.paths = found.paths;
      this.fill(jobs, found.placed);
      this.fit();
      if (this.chosen) this.select(this.chosen);
      performance.mark("titan:graph-drawn");
    }

    fill(jobs, placed) {
      const lines = make("path", { class: "edges", d: this.lineOf(this.paths) });
      const heads = make("path", { class: "heads", d: this.paths.map((path) => this.headOf(path)).join("") });
      this.marked = make("path", { class: "edges marked" });
      const group = make("g");
      this.nodes.clear();
      jobs.forEach((job, number) => group.append(this.node(job, placed[number])));
      this.svg.replaceChildren(lines, heads, this.marked, group);
    }

    node({ id, state }, [x, y]) {
      const mark = make("text", { x: 10, y: 17, class: "mark" }), word = make("text", { x: 10, y: 32, class: "word" });
      const name = make("text", { x: 26, y: 17 }, short(id)), title = make("title"); // the title is its accessible name
      const box = make("rect", { width: WIDTH, height: HEIGHT, rx: 5 });
      const group = make("g", { transform: `translate(${x - WIDTH / 2} ${y - HEIGHT / 2})`, tabindex: "0", role: "button", "data-job": id }, box, mark, name, word, title);
      this.nodes.set(id, { group, mark, word, title, x, y });
      this.paint(id, state);
      return group;
    }

    lineOf(paths) {
      return paths.map((points) => {
        const [first, ...rest] = points;
        let text = `M${first[0]} ${first[1]}`;
        if (rest.length < 2) return text + rest.map(([x, y]) => `L${x} ${y}`).join("");
        for (let i = 0; i < rest.length - 1; i++) {
          const [x, y] = rest[i], [nx, ny] = rest[i + 1], last = i === rest.length - 2;
          text += `Q${x} ${y} ${last ? nx : (x + nx) / 2} ${last ? ny : (y + ny) / 2}`;
        }
        return text;
      }).join("");
    }

    headOf(points) {
      const [x, y] = points[points.length - 1], [bx, by] = points[points.length - 2] || [x - 1, y];
      const length = Math.hypot(x - bx, y - by) || 1, ux = (x - bx) / length, uy = (y - by) / length;
      return `M${x} ${y}L${x - 7 * ux + 3 * uy} ${y - 7 * uy - 3 * ux}L${x - 7 * ux - 3 * uy} ${y - 7 * uy + 3 * ux}Z`;
    }

    // Show that a job is in this state.
    paint(id, state) {
      const node = this.nodes.get(id);
      if (!node) return;
      const tone = this.tones[state] || "wait";
      node.group.setAttribute("class", `node ${tone}${id === this.chosen ? " chosen" : ""}`);
      node.mark.textContent = state ? this.symbols[tone] : "";
      node.word.textContent = state;
      node.title.textContent = state ? `${id}: ${state}` : id;
    }

    select(id) {
      const before = this.nodes.get(this.chosen), node = this.nodes.get(id);
      if (before) { before.group.classList.remove("chosen"); before.group.removeAttribute("aria-current"); }
      this.chosen = id;
      if (this.marked) this.marked.setAttribute("d", node ? this.lineOf(this.paths.filter((_, i) => this.edges[i].includes(id))) : "");
      if (!node) return;
      node.group.classList.add("chosen");
      node.group.setAttribute("aria-current", "true");
      this.reveal(node);
    }

    // ── what is seen ──

    show(view) {
      this.view = view;
      this.svg.setAttribute("viewBox", `${view.x} ${view.y} ${view.w} ${view.h}`);
      this.svg.classList.toggle("far", view.w > FAR * (this.box.clientWidth || 400));
    }

    // All of it, but never larger than life.
    fit() {
      if (!this.bounds) return;
      const width = this.box.clientWidth || 400, { x, y, w: wide, h: high } = this.bounds;
      const scale = Math.max(wide / width, high / MOST_HEIGHT, 1);
      const height = keep(high / scale, 120, MOST_HEIGHT), w = width * scale, h = height * scale;
      this.svg.setAttribute("height", height);
      this.show({ x: x - (w - wide) / 2, y: y - (h - high) / 2, w, h });
    }

    // factor < 1: nearer. (px, py): what stays where it is, as parts of the box.
    zoom(factor, px = 0.5, py = 0.5) {
      if (!this.view) return;
      const { x, y, w, h } = this.view, wanted = keep(w * factor, 120, Math.max(this.bounds.w * 4, 2000)), real = wanted / w;
      this.show({ x: x + w * (1 - real) * px, y: y + h * (1 - real) * py, w: wanted, h: h * real });
    }

    reveal({ x, y }) {
      const { view } = this;
      const isIn = x - WIDTH / 2 > view.x && x + WIDTH / 2 < view.x + view.w && y - HEIGHT / 2 > view.y && y + HEIGHT / 2 < view.y + view.h;
      if (!isIn) this.show({ ...view, x: x - view.w / 2, y: y - view.h / 2 });
    }

    // ── hands ──

    listen() {
      const at = (event) => event.target.closest("[data-job]");
      this.svg.addEventListener("click", (event) => { const node = at(event); if (node && !this.moved) this.onSelect(node.dataset.job); });
      this.svg.addEventListener("keydown", (event) => this.onKey(event, at(event)));
      this.svg.addEventListener("focusin", (event) => {
        const node = at(event);
        if (node && node.matches(":focus-visible")) this.reveal(this.nodes.get(node.dataset.job));
      });
      this.svg.addEventListener("wheel", (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        const { left, top, width, height } = this.svg.getBoundingClientRect();
        this.zoom(event.deltaY > 0 ? 1.2 : 1 / 1.2, (event.clientX - left) / width, (event.clientY - top) / height);
      }, { passive: false });
      this.svg.addEventListener("pointerdown", (event) => this.drag(event));
      for (const [id, act] of [["zoom-in", () => this.zoom(0.7)], ["zoom-out", () => this.zoom(1 / 0.7)], ["zoom-fit", () => this.fit()]]) {
        document.getElementById(id)?.addEventListener("click", act);
      }
    }

    onKey(event, node) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (event.key === "+") this.zoom(0.7);
      else if (event.key === "-") this.zoom(1 / 0.7);
      else if (event.key === "0") this.fit();
      else if (node && (event.key === "Enter" || event.key === " ")) this.onSelect(node.dataset.job);
      else if (node && step) (step > 0 ? node.nextElementSibling : node.previousElementSibling)?.focus();
      else return;
      event.preventDefault();
    }

    drag(down) {
      this.moved = false;
      if (down.button || !this.view) return;
      const from = this.view, scale = from.w / (this.svg.clientWidth || 1);
      const move = (event) => {
        const dx = event.clientX - down.clientX, dy = event.clientY - down.clientY;
        if (Math.hypot(dx, dy) > 4) this.moved = true;
        if (this.moved) this.show({ ...from, x: from.x - dx * scale, y: from.y - dy * scale });
      };
      const end = () => { for (const name of ["pointermove", "pointerup", "pointercancel"]) removeEventListener(name, name === "pointermove" ? move : end); };
      addEventListener("pointermove", move);
      addEventListener("pointerup", end);
      addEventListener("pointercancel", end);
    }

    // The jobs of a table whose rows say what they depend on.
    static jobsOf(rows) {
      return [...rows].map(({ dataset }) => ({ id: dataset.job, state: dataset.state, parents: dataset.parents.split(" ").filter(Boolean) }));
    }
  };
})();
