"""What the page of a log knows (static/log-model.js), in node: any order of parts gives the lines of the log."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

STATIC = Path(__file__).parents[3] / "dashboard" / "static"
NODE = shutil.which("node")

RANDOM_PARTS = r"""
import { LogModel } from "./log-model.js";
let seed = SEED;
const chance = (most) => { seed = (seed * 1103515245 + 12345) & 0x7fffffff; return seed % most; };
const encoder = new TextEncoder();
const words = ["", "a", "é€", "x".repeat(30), "1%\r2%\r3%", "\u{1F600}", "tail\r"];
for (let turn = 0; turn < 400; turn++) {
  const lines = Array.from({ length: 1 + chance(12) }, () => words[chance(words.length)]);
  const text = lines.join("\n"), log = encoder.encode(text), model = new LogModel();
  let rows = 0;
  const add = (start, stop) => model.add(start, log.slice(start, stop), (at, more) => { rows += more; });
  for (let part = 0; part < chance(15); part++) {
    const start = chance(log.length || 1);
    add(start, Math.min(log.length, start + 1 + chance(20)));
  }
  const known = model.segments.map((one) => [one.start, one.stop]);
  known.reduce((before, one) => { if (one[0] <= before[1]) throw new Error("not in order"); return one; }, [-1, -1]);
  for (const { start, stop } of model.gaps()) if (stop <= start) throw new Error("an empty gap");
  if (rows !== model.rows) throw new Error(`rows ${rows} ${model.rows}`);
  for (let gap; (gap = model.gaps()[0]); ) add(gap.start, Math.min(gap.stop, gap.start + 1 + chance(9)));
  add(model.end, log.length);
  const last = (line) => line.replace(/\r+$/, "").split("\r").pop();
  const wanted = text.split("\n").map(last);
  if (text.endsWith("\n") || !text) wanted.pop();
  const found = Array.from({ length: model.rows }, (_, row) => model.row(row).text);
  if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(JSON.stringify([turn, found, wanted]));
  for (let row = 0; row < model.rows; row++) {
    if (model.row(row).line !== row + 1 || model.rowOfLine(row + 1) !== row) throw new Error("numbers");
  }
  if (rows !== model.rows) throw new Error("rows at the end");
}
console.log(JSON.stringify("fine"));
"""

GAPS = r"""
import { LogModel } from "./log-model.js";
const encoder = new TextEncoder(), model = new LogModel(), nothing = () => {};
model.add(0, encoder.encode("one\ntwo\n"), nothing);
model.add(20, encoder.encode("ree\nfour\n"), nothing);
const before = Array.from({ length: model.rows }, (_, row) => model.row(row));
model.lose(8, 20);
const lost = Array.from({ length: model.rows }, (_, row) => model.row(row));
console.log(JSON.stringify({ before, lost, gaps: model.gaps(), line: model.rowOfLine(4), none: model.rowOfLine(9) }));
"""

TEXT = r"""
import { plain, settled } from "./log-text.js";
console.log(JSON.stringify([
  plain("\x1b[31mred\x1b[0m \x1b]0;title\x07a\x1b[2Kb\x1b(Bc\x1b]8;;http://x\x1b\\link"),
  settled("10%\r20%\r30%\r\r"), settled("a\r\n".trimEnd()), settled("plain"),
]));
"""

COLOURS = r"""
import { LogModel } from "./log-model.js";
import { classes, settled } from "./log-text.js";
const text = "a\x1b[1;31mb\nc\n\x1b[0;32md\x1b[44m\ne\x1b[m\n\x1b[3mf\r10%\x1b[33m\r20%\ng\n";
const log = new TextEncoder().encode(text);
const model = new LogModel(), nothing = () => {};
const shown = () => Array.from({ length: model.rows }, (_, row) => classes(model.styleAt(row)));
const middle = log.indexOf(101); // e
model.add(middle, log.slice(middle), nothing);
const alone = shown();
model.add(0, log.slice(0, 12), nothing);
model.add(12, log.slice(12, middle), nothing);
console.log(JSON.stringify({ alone, whole: shown(), settled: settled("\x1b[31m1%\r2%") }));
"""


def run(script: str, tmp_path: Path) -> object:
    if NODE is None:
        pytest.skip("node is not installed")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    for name in ("log-model.js", "log-text.js"):
        shutil.copy(STATIC / name, tmp_path)
    (tmp_path / "test.js").write_text(script)
    done = subprocess.run([NODE, "test.js"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("seed", [1, 20261126])
def test_parts_in_any_order_become_the_lines(seed: int, tmp_path: Path) -> None:
    assert run(RANDOM_PARTS.replace("SEED", str(seed)), tmp_path) == "fine"


def test_gaps_are_rows_and_lines_behind_them_have_no_number_until_it_is_known(tmp_path: Path) -> None:
    found = run(GAPS, tmp_path)
    assert isinstance(found, dict)
    gap = {"start": 8, "stop": 20, "isLost": False}
    assert found["before"] == [
        {"text": "one", "line": 1},
        {"text": "two", "line": 2},
        {"gap": gap},
        {"text": "ree", "line": None},
        {"text": "four", "line": None},
    ]
    assert [row.get("line") for row in found["lost"]] == [1, 2, None, 3, 4]
    assert found["lost"][2] == {"gap": {**gap, "isLost": True}}
    assert (found["gaps"], found["line"], found["none"]) == ([], 4, None)


def test_colours_go_on_from_line_to_line_also_into_what_was_there_before(tmp_path: Path) -> None:
    found = run(COLOURS, tmp_path)
    assert isinstance(found, dict)
    assert found["alone"] == ["", "", "", "t-italic t-ink3"]  # behind a gap nothing is known of what was set
    red, green = "t-bold t-ink1", "t-ink2 t-ground4"
    assert found["whole"] == ["", red, red, green, "", "t-italic t-ink3"]
    assert found["settled"] == "\x1b[31m2%"


def test_escapes_are_left_out_and_returns_overwrite(tmp_path: Path) -> None:
    assert run(TEXT, tmp_path) == ["red abclink", "30%", "a", "plain"]
