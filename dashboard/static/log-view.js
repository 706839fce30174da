// The rows of a LogModel that are in sight, and no others: a hundred thousand lines are as quick as a hundred. Where a row
// stands is reckoned from the width of the letters, so none has to be drawn to know it. What is read stays where it is
// while lines come in above or below; at the end, and only there, new lines pull it along. No browser has boxes high
// enough for millions of lines: then the box is as high as can be, and `shift` is what is reckoned on top of where it is
// scrolled to. It stays while a person goes by lines or pages, and is reckoned anew for a leap.

import { PLAIN, carried, classes, plain, putLine } from "./log-text.js";

const BESIDE = 12; // rows drawn above and below
const HIGHEST = 8e6; // pixels
const HOLD_MS = 1000;
const made = (tag, css, parent) => {
  const node = document.createElement(tag);
  node.className = css;
  if (parent) parent.append(node);
  return node;
};

export const bytes = (count) => {
  if (count < 1024) return `${count} B`;
  return count < 1024 * 1024 ? `${Math.round(count / 1024)} KB` : `${(count / 1024 / 1024).toFixed(1)} MB`;
};

export class LogView {
  constructor(box, model, { onFetch, onDraw }) {
    Object.assign(this, { box, model, onFetch, onDraw });
    this.pad = made("div", "log-pad", box);
    this.seen = made("div", "log-seen", this.pad);
    this.drawn = new Map(); // row -> what was drawn of it
    this.fetching = new Set(); // stops of gaps
    this.follow = true;
    this.atEnd = true;
    this.wrap = false;
    this.chosen = null; // the number of a line
    this.tester = this.finder = null;
    this.anchor = { row: 0, beyond: 0 }; // the first row in sight, and how much of it is not
    this.top = this.shift = this.whole = 0; // of what is drawn: where it is scrolled to, and its height
    this.isMoved = this.isDue = false;
    this.heldTo = 0; // until then, what scrolls goes on from before
    this.restart();
    box.addEventListener("scroll", () => this.scrolled(), { passive: true });
    box.addEventListener("keydown", (event) => this.pressed(event));
    box.addEventListener("pointerdown", () => { this.heldTo = 0; });
    box.addEventListener("wheel", ({ deltaY }) => { this.heldTo = 0; if (deltaY < 0) this.atEnd &&= !this.reach[0]; }, { passive: true });
    new ResizeObserver(() => { this.restart(); this.isMoved = true; this.draw(); }).observe(box);
  }

  // ── what it is told ──

  changed(at, more) {
    if (this.anchor.row > at) this.anchor.row += more;
    this.isMoved = true;
    this.draw();
  }

  find(tester, finder) {
    Object.assign(this, { tester, finder });
    this.drawn.forEach((one) => one.node.remove());
    this.drawn.clear();
    this.restart();
    this.isMoved = true;
    this.draw();
  }

  setWrap(wrap) {
    this.wrap = wrap;
    this.box.classList.toggle("log-wrap", wrap);
    this.restart();
    this.isMoved = true;
    this.draw();
  }

  setFollow(follow) {
    this.follow = follow;
    if (follow) { this.atEnd = true; this.isMoved = true; this.draw(); }
  }

  // Show a line, in the middle; whether there is one of this number.
  choose(line) {
    this.chosen = line;
    const row = this.model.rowOfLine(line);
    this.draw();
    if (row === null) return false;
    this.refresh();
    this.atEnd = false;
    this.anchor = { row, beyond: -Math.round(this.box.clientHeight / 2) };
    this.isMoved = true;
    return true;
  }

  // The number of the first line in sight.
  get topLine() {
    for (let place = this.placeAt(this.now + 2); place < this.count; place++) {
      const { line } = this.model.row(this.rowAt(place));
      if (line) return line;
    }
    return null;
  }

  // ── which rows, and where ──

  restart() {
    const probe = made("div", "log-row", this.seen);
    const code = made("code", "", probe);
    code.textContent = "0".repeat(100);
    this.height = probe.getBoundingClientRect().height || 20;
    this.letter = code.getBoundingClientRect().width / 100 || 8;
    const gutter = made("a", "", probe);
    gutter.textContent = "0";
    const free = this.box.clientWidth - gutter.getBoundingClientRect().width - this.letter * 2.6;
    this.columns = Math.max(8, Math.floor(free / this.letter));
    probe.remove();
    this.epoch = this.model.epoch;
    this.tested = 0;
    this.found = [];
    this.tops = [0];
  }

  // Judge the rows that are new since the last time, the last one of then again, since it may have grown.
  refresh() {
    if (this.epoch !== this.model.epoch) { this.epoch = this.model.epoch; this.tested = 0; this.found = []; this.tops = [0]; }
    if (!this.tester && !this.wrap) return;
    const from = Math.max(0, this.tested - 1);
    while (this.found.length && this.found[this.found.length - 1] >= from) this.found.pop();
    this.tops.length = Math.min(this.tops.length, (this.tester ? this.found.length : from) + 1);
    for (let row = from; row < this.model.rows; row++) this.judge(row);
    this.tested = this.model.rows;
  }

  judge(row) {
    const { text, gap } = this.model.row(row);
    if (this.tester && !gap && !this.tester.test(plain(text))) return;
    if (this.tester) this.found.push(row);
    if (this.wrap) this.tops.push(this.tops[this.tops.length - 1] + this.height * (gap ? 1 : this.linesOf(text)));
  }

  linesOf(text) {
    const tabs = text.includes("\t") ? text.split("\t").length - 1 : 0;
    return Math.max(1, Math.ceil((Math.min(plain(text).length, 20000) + tabs * 5) / this.columns));
  }

  get count() { return this.tester ? this.found.length : this.model.rows; }
  rowAt(place) { return this.tester ? this.found[place] : place; }
  topOf(place) { return this.wrap ? this.tops[place] : place * this.height; }

  placeOf(row) {
    if (!this.tester) return Math.min(row, this.count);
    return lowest(this.found.length, (place) => this.found[place] >= row);
  }

  placeAt(top) {
    if (!this.wrap) return Math.max(0, Math.floor(top / this.height));
    return Math.max(0, lowest(this.count, (place) => this.tops[place + 1] > top));
  }

  // ── drawing ──

  get now() { return this.box.scrollTop + this.shift; }

  // How far it can be scrolled: as it is reckoned, and as the box is.
  get reach() {
    const { clientHeight } = this.box;
    return [Math.max(0, this.whole - clientHeight), Math.max(0, Math.min(this.whole, HIGHEST) - clientHeight)];
  }

  scrollTo(wanted) {
    const [all, real] = this.reach, top = Math.max(0, Math.min(wanted, all));
    this.box.scrollTop = all > real ? Math.round((top / all) * real) : top;
    this.shift = all > real ? top - this.box.scrollTop : 0;
  }

  // A leap, or the edge of the box: where that is in all of the log.
  leapt(moved) {
    const [all, real] = this.reach, { scrollTop, clientHeight } = this.box;
    if (all <= real) { this.shift = 0; return; }
    if (scrollTop <= 0) this.shift = 0;
    else if (scrollTop >= real - 1) this.shift = all - scrollTop;
    else if (Math.abs(moved) > 4 * clientHeight) this.shift = Math.round((scrollTop / real) * all) - scrollTop;
  }

  scrolled() {
    const { scrollTop, clientHeight } = this.box, moved = scrollTop - this.top, before = this.top + this.shift;
    if (!moved) return; // by drawNow itself
    if (performance.now() < this.heldTo) { this.isMoved = true; this.draw(); return; }
    this.leapt(moved);
    this.atEnd = this.now + clientHeight > this.whole - (moved < 0 ? 1 : 4);
    this.top = scrollTop;
    if (this.isMoved) { this.anchor.beyond += this.now - before; return; } // rows have changed that are not drawn yet: they tell nothing
    this.moor();
    this.draw();
  }

  // A browser adds what it scrolls to where it was when it began, and rows may have come since: the ends would be missed.
  // What it still scrolls for keys before does not lead away from them.
  pressed(event) {
    this.heldTo = 0;
    if (!["Home", "End"].includes(event.key) || event.ctrlKey || event.altKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const isEnd = event.key === "End";
    this.atEnd = isEnd || !this.reach[0];
    this.anchor = { row: isEnd ? this.model.rows : 0, beyond: 0 };
    this.heldTo = performance.now() + HOLD_MS;
    this.isMoved = true;
    this.draw();
  }

  // What is at the top of the box stays there from now on.
  moor() {
    if (!this.count) return;
    const place = Math.min(this.placeAt(this.now), this.count - 1);
    this.anchor = { row: this.rowAt(place), beyond: this.now - this.topOf(place) };
  }

  draw() {
    if (this.isDue) return;
    this.isDue = true;
    requestAnimationFrame(() => { this.isDue = false; this.drawNow(); });
  }

  drawNow() {
    this.refresh();
    const whole = (this.whole = this.topOf(this.count));
    this.pad.style.height = `${Math.min(whole, HIGHEST)}px`;
    if (this.isMoved) this.scrollTo(this.follow && this.atEnd ? whole : this.topOf(this.placeOf(this.anchor.row)) + this.anchor.beyond);
    this.isMoved = false;
    this.top = this.box.scrollTop;
    this.moor();
    const first = Math.max(0, this.placeAt(this.now) - BESIDE);
    const last = Math.min(this.count, this.placeAt(this.now + this.box.clientHeight) + BESIDE);
    this.seen.style.top = `${this.topOf(first) - this.shift}px`;
    this.put(first, last);
    this.onDraw();
  }

  // Nodes that are still right stay, so that a selection survives.
  put(first, last) {
    const before = this.drawn;
    this.drawn = new Map();
    let at = this.seen.firstChild, style = PLAIN, following = -1;
    for (let place = first; place < last; place++) {
      const number = this.rowAt(place), row = this.model.row(number);
      if (number !== following) style = this.model.styleAt(number);
      const key = row.gap ? `${row.gap.start} ${row.gap.stop} ${row.gap.isLost} ${this.fetching.has(row.gap.stop)}` : `${row.line} ${row.line !== null && row.line === this.chosen} ${classes(style)} ${row.text}`;
      const old = before.get(number);
      const node = old && old.key === key ? old.node : this.nodeOf(row, style);
      style = row.gap ? PLAIN : carried(row.text, style);
      following = number + 1;
      this.drawn.set(number, { key, node });
      if (node === at) at = at.nextSibling;
      else this.seen.insertBefore(node, at);
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  nodeOf({ gap, text, line }, style) {
    if (gap) return this.gapNode(gap);
    const node = made("div", line !== null && line === this.chosen ? "log-row chosen" : "log-row");
    const number = made("a", "", node);
    number.tabIndex = -1;
    if (line !== null) { number.href = `#L${line}`; number.textContent = line; }
    putLine(made("code", "", node), text, this.finder, style);
    return node;
  }

  gapNode({ start, stop, isLost }) {
    const node = made("div", "log-row log-gap"), words = made("span", "", node), size = bytes(stop - start);
    if (isLost) { words.textContent = `${size} are not kept any more`; return node; }
    words.textContent = start === 0 ? `${size} before this are not loaded` : `${size} were not received`;
    const button = made("button", "", node);
    button.type = "button";
    button.textContent = this.fetching.has(stop) ? "fetching…" : "fetch";
    button.disabled = this.fetching.has(stop);
    button.addEventListener("click", () => this.onFetch(stop));
    return node;
  }
}

// The lowest of 0 … count-1 for which it is true, else count; true stays true.
const lowest = (count, isTrue) => {
  let low = 0, high = count;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (isTrue(middle)) high = middle; else low = middle + 1;
  }
  return low;
};
