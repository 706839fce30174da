// The page of a log. What is printed comes as events; what is missing is fetched in parts: at once before the first line,
// so that lines have their true numbers, and between lines when it is asked for, when nothing comes any more, or the
// attempt is over. Where there is no stream, parts are asked for every second. Sleeps while the tab is hidden.

import { plain } from "./log-text.js";
import { LogModel } from "./log-model.js";
import { LogView } from "./log-view.js";

const TAIL = 256 * 1024, PART = 1024 * 1024;
const AUTO = 24 * 1024 * 1024; // larger gaps are fetched only when they are asked for
const IDLE_MS = 1500, TICK_MS = 500, POLL_MS = 1000, REOPEN_MS = 30000, PAUSE_MS = 2000, SAY_MS = 2000;

const byId = (id) => document.getElementById(id);
const root = byId("log"), attempt = Number(root.dataset.attempt), api = root.dataset.api;
const model = new LogModel();
const wanted = new Set(); // stops of gaps that were asked for
const facts = { end: false, final: false, next: 0, trouble: "" };
let view, stream = null, via = "", closedAt = 0, polledAt = 0, cameAt = 0, filling = false, pausedTo = 0, pendingLine = null;
let heardAt = 0, isStarted = false, fetchTrouble = "", said = "";

// ── what is known ──

const take = (offset, bytes) => model.add(offset, bytes, (at, more) => view.changed(at, more));

const ofBase64 = (text) => Uint8Array.from(atob(text), (char) => char.charCodeAt(0));

const part = async (query) => {
  const answer = await fetch(`${api}?attempt=${attempt}&${query}`, { cache: "no-store" });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || `the dashboard answers ${answer.status}`);
  const number = (name) => Number(answer.headers.get(name));
  const found = { offset: number("Log-Offset"), end: number("Log-End") === 1, final: number("Log-Final") === 1 };
  return { ...found, bytes: new Uint8Array(await answer.arrayBuffer()) };
};

const tell = (told) => {
  if (told.end !== facts.end || told.final !== facts.final || (told.next || 0) !== facts.next) showFacts();
  Object.assign(facts, told);
  if (facts.next && !attempt) location.reload();
  if (facts.final) close();
  say();
};

// The state of the job, which attempts there are: as the page would be now.
const showFacts = async () => {
  try {
    const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("log-facts");
    if (answer.ok && fresh) byId("log-facts").replaceChildren(...document.importNode(fresh, true).childNodes);
  } catch { /* they stay as they are */ }
};

const say = () => {
  const words = facts.trouble || fetchTrouble || (facts.end ? ended() : stream ? via : isStarted ? "asks every second" : "loading…");
  if (said === `${words} ${facts.next}`) return;
  said = `${words} ${facts.next}`;
  byId("log-state").textContent = words;
  if (!facts.end || !facts.next) return;
  const link = document.createElement("a");
  link.href = `?attempt=${facts.next}`;
  link.textContent = `attempt ${facts.next} has begun`;
  byId("log-state").append(", ", link);
};

const ended = () => (facts.final ? "the job is over" : "this attempt is over");

// ── the stream, or asking from time to time ──

const open = () => {
  if (stream || facts.final) return;
  const own = (stream = new EventSource(`${api}/events?attempt=${attempt}&offset=${model.end}`));
  stream.onmessage = ({ data }) => {
    const told = JSON.parse(data);
    if (told.data === undefined) { tell(told); return; }
    cameAt = Date.now();
    via = told.via === "master" ? "live, by way of the master" : "live";
    take(told.offset, ofBase64(told.data));
    say();
  };
  stream.onopen = () => { via = via || "live"; say(); };
  stream.onerror = () => {
    if (own.readyState !== EventSource.CLOSED || own !== stream) return;
    close();
    closedAt = Date.now();
    say();
  };
};

const close = () => { if (stream) stream.close(); stream = null; };

const poll = async () => {
  if (Date.now() - polledAt < POLL_MS) return;
  polledAt = Date.now();
  const { offset, end, final, bytes } = await part(`offset=${model.end}`);
  if (bytes.length) { cameAt = Date.now(); take(offset, bytes); }
  tell({ end, final: final && end, trouble: "" });
};

// ── what is missing ──

const isAuto = ({ start, stop }) => {
  if (wanted.has(stop)) return true;
  if (stop - start > AUTO) return false;
  return start === 0 || facts.end || Date.now() - cameAt > IDLE_MS;
};

const fill = async () => {
  if (filling) return;
  filling = true;
  try {
    for (let gap; !document.hidden && (gap = model.gaps().find(isAuto)); ) {
      view.fetching.add(gap.stop);
      const stays = !(await fillSome(gap));
      if (stays) break;
    }
    fetchTrouble = "";
  } catch (error) {
    fetchTrouble = `not all could be fetched: ${error.message}`;
    pausedTo = Date.now() + PAUSE_MS;
  }
  filling = false;
  view.fetching.clear();
  view.draw();
  say();
};

// Fetch the beginning of a gap; whether anything has become of it.
const fillSome = async ({ start, stop }) => {
  const { offset, end, bytes } = await part(`offset=${start}&limit=${Math.min(PART, stop - start)}`);
  const begin = Math.min(bytes.length ? offset : end ? stop : start, stop);
  if (begin > start) { model.lose(start, begin); view.changed(model.rows, 0); }
  if (bytes.length && offset < stop) take(offset, bytes);
  if (begin === start && !bytes.length) pausedTo = Date.now() + PAUSE_MS; // it has not come to the master yet
  return begin > start || bytes.length > 0;
};

// ── the tools ──

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");

const search = () => {
  const text = byId("log-find").value;
  byId("log-problem").textContent = "";
  if (!text) { view.find(null, null); return; }
  try {
    const isRegex = byId("log-regex").checked;
    const source = isRegex ? text : escaped(text), flags = isRegex ? "i" : "iu";
    const every = new RegExp(source, `g${flags}`);
    const finder = (line) => [...line.matchAll(every)].filter((one) => one[0]).map((one) => [one.index, one.index + one[0].length]);
    view.find(new RegExp(source, flags), finder);
  } catch (error) {
    byId("log-problem").textContent = error.message;
  }
};

const count = () => {
  const gaps = model.index.filter(({ hasGap }) => hasGap).length; // a filter shows them, too
  const shown = view.tester ? `${(view.count - gaps).toLocaleString("en")} of ` : "";
  const words = `${shown}${(model.rows - gaps).toLocaleString("en")} lines`;
  if (byId("log-count").textContent !== words) byId("log-count").textContent = words;
};

const goTo = (line) => {
  pendingLine = null;
  if (view.choose(line)) { byId("log-problem").textContent = ""; return; }
  if (model.isNumbered) { byId("log-problem").textContent = `there is no line ${line}`; return; }
  pendingLine = line;
  for (const gap of model.gaps()) wanted.add(gap.stop);
};

const goToHash = () => {
  const found = /^#L([0-9]{1,12})$/.exec(location.hash);
  if (found) goTo(Number(found[1]));
};

const copy = async () => {
  const line = view.chosen || view.topLine;
  const link = `${location.origin}${location.pathname}?attempt=${attempt}${line ? `#L${line}` : ""}`;
  try {
    await navigator.clipboard.writeText(link);
    byId("log-copy").textContent = line ? `Copied: line ${line}` : "Copied";
  } catch { // not allowed without TLS: then for the person to copy
    window.prompt("The link:", link);
  }
  setTimeout(() => { byId("log-copy").textContent = "Copy link"; }, SAY_MS);
};

const aloud = () => {
  if (!byId("log-announce").checked || !model.rows || Date.now() - heardAt < SAY_MS) return;
  const { text } = model.row(model.rows - 1);
  const words = plain(text || "").slice(0, 200);
  if (words === byId("log-heard").textContent) return;
  heardAt = Date.now();
  byId("log-heard").textContent = words;
};

const onKey = (event) => {
  if (event.key === "/" && !["INPUT", "TEXTAREA", "SELECT"].includes(event.target.nodeName)) {
    event.preventDefault();
    byId("log-find").focus();
  }
};

const listen = () => {
  byId("log-tools").addEventListener("submit", (event) => event.preventDefault());
  byId("log-find").addEventListener("input", search);
  byId("log-regex").addEventListener("change", search);
  byId("log-line").addEventListener("keydown", ({ key }) => {
    const line = Number(byId("log-line").value);
    if (key !== "Enter" || !Number.isInteger(line) || line < 1) return;
    if (location.hash === `#L${line}`) goTo(line); else location.hash = `#L${line}`;
  });
  byId("log-copy").addEventListener("click", copy);
  byId("log-wrap").addEventListener("change", ({ target }) => view.setWrap(target.checked));
  byId("log-follow").addEventListener("change", ({ target }) => view.setFollow(target.checked));
  byId("log-announce").addEventListener("change", ({ target }) => { byId("log-heard").setAttribute("aria-live", target.checked ? "polite" : "off"); });
  window.addEventListener("hashchange", goToHash);
  document.addEventListener("keydown", onKey);
  document.addEventListener("visibilitychange", () => { if (document.hidden) close(); else if (isStarted) open(); });
};

// ── the page ──

const tick = async () => {
  aloud();
  if (document.hidden || !isStarted) return;
  if (Date.now() > pausedTo && model.gaps().some(isAuto)) fill();
  if (pendingLine !== null && (model.rowOfLine(pendingLine) !== null || model.isNumbered)) goTo(pendingLine);
  if (stream || facts.final) return;
  if (Date.now() - closedAt > REOPEN_MS) { open(); return; }
  if (!attempt) return;
  try { await poll(); } catch (error) { tell({ trouble: error.message }); }
};

const load = async () => {
  const { offset, end, final, bytes } = await part(`tail=${TAIL}`);
  if (bytes.length) take(offset, bytes);
  Object.assign(facts, { end, final: end && final, trouble: "" });
};

const start = async () => {
  for (const id of ["log-tools", "log-box"]) byId(id).hidden = false;
  byId("log-plain").hidden = true;
  view = new LogView(byId("log-box"), model, {
    onFetch: (stop) => { wanted.add(stop); pausedTo = 0; fill(); },
    onDraw: count,
  });
  listen();
  say();
  try { if (attempt) await load(); } catch (error) { facts.trouble = error.message; }
  isStarted = true;
  goToHash();
  if (!document.hidden) open();
  say();
  setInterval(tick, TICK_MS);
};

start();
