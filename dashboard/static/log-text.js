// From the bytes of a line to what is shown of it. Whatever a job prints becomes text nodes and classes, never HTML: of
// escape sequences colours and weights are understood, all others are left out, and other control characters are shown
// by their codes. A line that overwrites itself with \r is what it was last.

const ESCAPE = /\x1b(?:\[([0-?]*)([ -/]*[@-~])|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;
const UNSEEN = /[\x00-\x08\x0a-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const COLOUR = /\x1b\[[0-9;:]*m/g;
const RESET = /\x1b\[0*[;m]/;
const MOST = 20000, MOST_COLOURS = 16;
const decoder = new TextDecoder("utf-8", { fatal: false, ignoreBOM: true });

export const decode = (bytes) => decoder.decode(bytes);

// What is left of a line after its carriage returns, with the colours that what was overwritten had set.
export const settled = (line) => {
  if (!line.includes("\r")) return line;
  const text = line.replace(/\r+$/, ""), at = text.lastIndexOf("\r") + 1;
  const colours = at && text.includes("\x1b[") ? text.slice(0, at).match(COLOUR) : null;
  return (colours ? colours.slice(-MOST_COLOURS).join("") : "") + text.slice(at);
};

export const plain = (line) => (line.includes("\x1b") ? line.replace(ESCAPE, "") : line);

const codeOf = (char) => {
  const code = char.codePointAt(0), digits = code.toString(16);
  return code < 256 ? `\\x${digits.padStart(2, "0")}` : `\\u${digits.padStart(4, "0")}`;
};

// ── colours: the state of a terminal, as classes ──

const bright = (red, green, blue) => {
  const top = Math.max(red, green, blue);
  if (top < 48) return 0;
  if (Math.min(red, green, blue) > top * 0.75) return top > 200 ? 15 : top > 140 ? 7 : 8;
  const hue = (red > top * 0.6 ? 1 : 0) + (green > top * 0.6 ? 2 : 0) + (blue > top * 0.6 ? 4 : 0);
  return top > 215 ? hue + 8 : hue;
};

const ofPalette = (index) => {
  if (index < 16) return index;
  if (index >= 232) { const grey = 8 + (index - 232) * 10; return bright(grey, grey, grey); }
  const part = (value) => (value ? 55 + value * 40 : 0);
  const cube = index - 16;
  return bright(part(Math.floor(cube / 36)), part(Math.floor(cube / 6) % 6), part(cube % 6));
};

// The colour that codes[at], 38 or 48, begins: which one, and how many codes it took beside that.
const extended = (codes, at) => {
  if (codes[at + 1] === 5) return [ofPalette(Math.min(255, codes[at + 2] || 0)), 2];
  if (codes[at + 1] === 2) return [bright(codes[at + 2] || 0, codes[at + 3] || 0, codes[at + 4] || 0), 4];
  return [null, 1];
};

const FLAGS = { 1: "bold", 2: "dim", 3: "italic", 4: "under", 7: "inverse", 9: "struck" };
const ENDS = { 22: ["bold", "dim"], 23: ["italic"], 24: ["under"], 27: ["inverse"], 29: ["struck"] };

export const PLAIN = Object.freeze({ flags: new Set(), ink: null, ground: null });
const copied = ({ flags, ink, ground }) => ({ flags: new Set(flags), ink, ground });

const applied = (style, text) => {
  const codes = (text || "0").split(/[;:]/).map((code) => Number(code) || 0);
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at];
    if (code === 0) style = copied(PLAIN);
    else if (FLAGS[code]) style.flags.add(FLAGS[code]);
    else if (ENDS[code]) ENDS[code].forEach((flag) => style.flags.delete(flag));
    else if (code >= 30 && code <= 37) style.ink = code - 30;
    else if (code >= 90 && code <= 97) style.ink = code - 82;
    else if (code === 39) style.ink = null;
    else if (code >= 40 && code <= 47) style.ground = code - 40;
    else if (code >= 100 && code <= 107) style.ground = code - 92;
    else if (code === 49) style.ground = null;
    else if (code === 38 || code === 48) {
      const [colour, took] = extended(codes, at);
      style[code === 38 ? "ink" : "ground"] = colour;
      at += took;
    }
  }
  return style;
};

// Whether the style after this line does not depend on the one before it.
export const resets = (line) => line.includes("\x1b[") && RESET.test(line);

// The style that a line leaves to the next one, when it began with `style`: as in a terminal, colours go on.
export const carried = (line, style) => {
  if (!line.includes("\x1b[")) return style;
  let now = copied(style);
  for (const [, codes] of line.matchAll(/\x1b\[([0-9;:]*)m/g)) now = applied(now, codes);
  return now;
};

export const classes = (style) => {
  const names = [...style.flags].map((flag) => `t-${flag}`);
  if (style.ink !== null) names.push(`t-ink${style.ink}`);
  if (style.ground !== null) names.push(`t-ground${style.ground}`);
  return names.join(" ");
};

// ── nodes ──

const put = (parent, text, css) => {
  if (!text) return;
  if (!css) { parent.append(text); return; }
  const span = document.createElement("span");
  span.className = css;
  span.textContent = text;
  parent.append(span);
};

// `text` under `css`, its control characters by their codes, and what `find` finds marked.
const putChecked = (parent, text, css, find) => {
  let at = 0;
  const emit = (part, more) => {
    let begin = 0;
    for (const unseen of part.matchAll(UNSEEN)) {
      put(parent, part.slice(begin, unseen.index), `${css} ${more}`.trim());
      put(parent, codeOf(unseen[0]), "t-control");
      begin = unseen.index + unseen[0].length;
    }
    put(parent, part.slice(begin), `${css} ${more}`.trim());
  };
  for (const [start, stop] of find ? find(text) : []) {
    emit(text.slice(at, start), "");
    emit(text.slice(start, stop), "t-found");
    at = stop;
  }
  emit(text.slice(at), "");
};

// `begin`: the style that the line begins with.
export const putLine = (parent, line, find, begin = PLAIN) => {
  const rest = line.length - MOST;
  const text = rest > 0 ? line.slice(0, MOST) : line;
  let style = copied(begin);
  let at = 0;
  for (const escape of text.matchAll(ESCAPE)) {
    putChecked(parent, text.slice(at, escape.index), classes(style), find);
    if (escape[2] === "m") style = applied(style, escape[1]);
    at = escape.index + escape[0].length;
  }
  putChecked(parent, text.slice(at), classes(style), find);
  if (rest > 0) put(parent, ` … ${rest.toLocaleString("en")} more characters: download the log to see them`, "t-control");
};
