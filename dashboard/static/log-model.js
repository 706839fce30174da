// The log as far as it is known: contiguous segments of bytes, kept as lines, and the gaps before and between them. Parts
// come in any order, twice or overlapping. Lines are counted from the beginning of the log, as far as all before them is
// there; what the master does not keep counts as nothing. Knows no document.

import { PLAIN, carried, decode, resets, settled } from "./log-text.js";

const BREAK = 10, RETURN = 13, ESCAPE = 27;
const BACK = 10000; // so many rows before a row are looked at for the colours that it begins with
const LONG = 64 * 1024;
const EMPTY = new Uint8Array(0);

const joined = (one, other) => {
  if (!one.length) return other;
  if (!other.length) return one;
  const both = new Uint8Array(one.length + other.length);
  both.set(one);
  both.set(other, one.length);
  return both;
};

// Only what was printed since its last \r is worth decoding of a line that is not complete: it may be megabytes. Of a
// short one all is, as it may have set colours before.
const decodeLast = (bytes) => {
  if (bytes.length < LONG && bytes.includes(ESCAPE)) return settled(decode(bytes));
  let stop = bytes.length;
  while (stop && bytes[stop - 1] === RETURN) stop--;
  return decode(bytes.subarray(stop ? bytes.lastIndexOf(RETURN, stop - 1) + 1 : 0, stop));
};

// head: the bytes before the first line break; rest: those after the last; lines: what is between. Without a line break,
// all is head.
const segment = (start, bytes) => {
  const first = bytes.indexOf(BREAK);
  const made = { start, stop: start + bytes.length, head: bytes, hasBreak: first >= 0, lines: [], rest: EMPTY, hasEscape: bytes.includes(ESCAPE) };
  if (first >= 0) {
    const last = bytes.lastIndexOf(BREAK);
    made.head = bytes.slice(0, first);
    made.rest = bytes.slice(last + 1);
    if (last > first) made.lines = decode(bytes.subarray(first + 1, last)).split("\n").map(settled);
  }
  return made;
};

const pushAll = (target, items) => { for (const item of items) target.push(item); };

// `other` begins where `one` stops; `one` becomes both.
const join = (one, other) => {
  one.stop = other.stop;
  one.hasEscape ||= other.hasEscape;
  if (!one.hasBreak) {
    one.head = joined(one.head, other.head);
    one.hasBreak = other.hasBreak;
    one.lines = other.lines;
    one.rest = other.rest;
  } else if (!other.hasBreak) {
    one.rest = joined(one.rest, other.head);
  } else {
    one.lines.push(decodeLast(joined(one.rest, other.head)));
    pushAll(one.lines, other.lines);
    one.rest = other.rest;
  }
};

const rowsOf = (one) => (one.hasBreak ? 1 + one.lines.length + (one.rest.length ? 1 : 0) : one.head.length ? 1 : 0);

const textOf = (one, index) => {
  if (index === 0) return decodeLast(one.head);
  return index <= one.lines.length ? one.lines[index - 1] : decodeLast(one.rest);
};

export class LogModel {
  constructor() {
    this.segments = [];
    this.lost = new Map(); // start of a gap -> its stop, where the master has nothing to fill it with
    this.rows = 0;
    this.epoch = 0; // changes when anything but the end has changed
    this.index = [];
  }

  get end() { return this.segments.length ? this.segments[this.segments.length - 1].stop : 0; }

  // Bytes from `offset` on. `onChange(at, more)`: the rows behind this one have become so many more.
  add(offset, bytes, onChange) {
    for (const [start, stop] of this.missing(offset, offset + bytes.length)) {
      const { at, more } = this.insert(segment(start, bytes.subarray(start - offset, stop - offset)));
      onChange(at, more);
    }
  }

  missing(start, stop) {
    const found = [];
    let at = start;
    for (let place = this.placeOf(start); place < this.segments.length; place++) {
      const one = this.segments[place];
      if (one.start >= stop) break;
      if (one.start > at) found.push([at, one.start]);
      at = Math.max(at, one.stop);
    }
    if (at < stop) found.push([at, stop]);
    return found;
  }

  // The first segment that ends at `offset` or later: mostly the last one.
  placeOf(offset) {
    let place = this.segments.length;
    while (place > 0 && this.segments[place - 1].stop >= offset) place--;
    return place;
  }

  insert(fresh) {
    const before = this.rows;
    const isLast = fresh.start >= this.end;
    let place = this.placeOf(fresh.start);
    const previous = this.segments[place];
    const isJoined = previous !== undefined && previous.stop === fresh.start;
    let at = this.rows;
    if (!isLast) at = this.index[place].row;
    if (isJoined) at = this.index[place].row + (this.index[place].hasGap ? 1 : 0) + Math.max(0, rowsOf(previous) - 1);
    if (isJoined) join(previous, fresh);
    else this.segments.splice(place, 0, fresh);
    const following = this.segments[place + 1];
    if (following && this.segments[place].stop === following.start) {
      join(this.segments[place], following);
      this.segments.splice(place + 1, 1);
    }
    if (!isLast) this.epoch++;
    this.reckon();
    return { at, more: this.rows - before };
  }

  // The master has nothing between these offsets.
  lose(start, stop) {
    this.lost.set(start, stop);
    this.epoch++;
    this.reckon();
  }

  // Where each segment's rows begin, the row of the gap before it first, and which number its first line has.
  reckon() {
    let row = 0, line = 1, stop = 0;
    this.index = this.segments.map((one) => {
      const hasGap = one.start > stop;
      if (hasGap && !(this.lost.get(stop) >= one.start)) line = null;
      const entry = { row, hasGap, gapStart: stop, line };
      const rows = rowsOf(one);
      row += rows + (hasGap ? 1 : 0);
      if (line !== null) line += rows;
      stop = one.stop;
      return entry;
    });
    this.rows = row;
    this.isNumbered = line !== null;
  }

  gaps() {
    const all = this.segments.map((one, place) => ({ start: this.index[place].gapStart, stop: one.start }));
    return all.filter(({ start, stop }) => stop > start && !(this.lost.get(start) >= stop));
  }

  // Which segment a row is in: its place, and the row's number inside it; -1 is the gap before it.
  find(number) {
    let low = 0, high = this.index.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.index[middle].row <= number) low = middle; else high = middle - 1;
    }
    const { row, hasGap } = this.index[low];
    return { place: low, inside: number - row - (hasGap ? 1 : 0) };
  }

  // The style that a row begins with, as far as what is before it is there.
  styleAt(number) {
    const { place, inside } = this.find(number), one = this.segments[place];
    if (!one.hasEscape || inside <= 0) return PLAIN;
    const least = Math.max(0, inside - BACK);
    let from = inside - 1;
    while (from > least && !resets(textOf(one, from))) from--;
    let style = PLAIN;
    for (let at = from; at < inside; at++) style = carried(textOf(one, at), style);
    return style;
  }

  // {gap: {start, stop, isLost}} or {text, line}: line is null while its number is not known.
  row(number) {
    const { place, inside } = this.find(number), one = this.segments[place], { gapStart, line } = this.index[place];
    if (inside < 0) return { gap: { start: gapStart, stop: one.start, isLost: this.lost.get(gapStart) >= one.start } };
    return { text: textOf(one, inside), line: line === null ? null : line + inside };
  }

  // Where a line is; null: its number is not known yet, or there is none.
  rowOfLine(wanted) {
    for (let place = this.index.length - 1; place >= 0; place--) {
      const { row, hasGap, line } = this.index[place];
      if (line === null || line > wanted) continue;
      const inside = wanted - line;
      return inside < rowsOf(this.segments[place]) ? row + (hasGap ? 1 : 0) + inside : null;
    }
    return null;
  }
}
