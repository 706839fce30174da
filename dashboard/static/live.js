// Keeps the elements with `data-live` and an id up to date: when /events says that something has changed, or every three
// seconds where there is no stream, the same address is fetched again as a fragment, and what is different in it is
// changed in place. Nodes stay who they are, so focus, selection, scrolling and open <details> survive. What comes from
// the server is parsed into a document of its own, in which nothing runs. Sleeps while the tab is hidden.
"use strict";
(() => {
  const POLL_MS = 3000, REOPEN_MS = 30000;
  const state = document.getElementById("live-state");
  let stream = null, closedAt = 0, version = null, busy = false, again = false;

  const say = (text) => { if (state && state.textContent !== text) state.textContent = text; };

  // ── changing in place ──

  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || null : null);
  const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && keyOf(one) === keyOf(other);

  const morphAttributes = (old, fresh) => {
    for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) {
      const isThePersons = name === "open" && old.nodeName === "DETAILS";
      if (!fresh.hasAttribute(name) && !isThePersons && name !== "data-stale") old.removeAttribute(name);
    }
  };

  const morphChildren = (old, fresh) => {
    let place = old.firstChild;
    for (const wanted of [...fresh.childNodes]) {
      let found = place;
      if (keyOf(wanted) !== null) while (found && !alike(found, wanted)) found = found.nextSibling;
      if (found && alike(found, wanted)) {
        if (found === place) place = place.nextSibling;
        else old.insertBefore(found, place);
        morph(found, wanted);
      } else {
        old.insertBefore(document.importNode(wanted, true), place);
      }
    }
    while (place) { const next = place.nextSibling; place.remove(); place = next; }
  };

  const morph = (old, fresh) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    if (["INPUT", "SELECT", "TEXTAREA"].includes(old.nodeName)) return; // a person may be filling it in
    morphAttributes(old, fresh);
    morphChildren(old, fresh);
  };

  const replace = (text, whole) => {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const region of document.querySelectorAll("[data-live][id]")) {
      const wanted = fresh.getElementById(region.id);
      if (wanted) morph(region, wanted);
      region.toggleAttribute("data-stale", !wanted && !whole);
      if (!wanted && whole) region.replaceChildren();
    }
    document.dispatchEvent(new CustomEvent("titan:refreshed"));
  };

  // ── asking ──

  const fetched = async () => {
    const answer = await fetch(location.href, { headers: { "X-Fragment": "1", Accept: "text/html" }, cache: "no-store" });
    if (answer.status === 401) { say("Logged out: load the page again"); return; }
    const isRefused = document.querySelector("main[data-retry]");
    if (isRefused && answer.ok) { location.reload(); return; }
    replace(await answer.text(), answer.ok);
    say("");
  };

  const refresh = async () => {
    if (busy) { again = true; return; }
    busy = true;
    try { await fetched(); } catch { say("The dashboard does not answer"); }
    busy = false;
    if (again) { again = false; refresh(); }
  };

  const open = () => {
    stream = new EventSource("/events");
    stream.onmessage = (message) => {
      const told = JSON.parse(message.data).version;
      if (told === version) return;
      const isFirst = version === null;
      version = told;
      if (!isFirst) refresh();
    };
    stream.onerror = () => { if (stream && stream.readyState === EventSource.CLOSED) closedAt = Date.now(); };
  };

  const close = () => { if (stream) stream.close(); stream = null; };

  const tick = () => {
    if (document.hidden) return;
    const isOpen = stream && stream.readyState === EventSource.OPEN;
    if (isOpen) return;
    refresh();
    const isRefused = stream && stream.readyState === EventSource.CLOSED;
    if (isRefused && Date.now() - closedAt > REOPEN_MS) { close(); open(); }
  };

  const onVisibility = () => {
    if (document.hidden) { close(); return; }
    refresh();
    if (!stream) open();
  };

  document.addEventListener("DOMContentLoaded", () => {
    if (!document.querySelector("main [data-live][id], main[data-retry]")) return;
    if (!document.hidden) open();
    document.addEventListener("visibilitychange", onVisibility);
    setInterval(tick, POLL_MS);
  });
})();
