"""What the README and the guides show happens as it is printed: files, commands, programs and their outputs.

Which blocks take part is said by comments in the pages; see `support.documents`. Commands run as in the reader's
shell, with `titan` and `python` on the path, in a directory that is also the home of a cluster on free ports.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from titan_sdk.pipeline import load
from titan_test_suite.pytests.support.cluster import STOP_S, Cluster, Program
from titan_test_suite.pytests.support.documents import DOCUMENTS, ROOT, Step, steps
from titan_test_suite.pytests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

RUN_S = 60.0
README = ROOT / "README.md"
PAGES = [document for document in DOCUMENTS if any(step.kind == "run" for step in steps(document))]
VARYING = (
    (r"\d{8}T\d{6}-[0-9a-f]{4}", "<id>"),
    (r"\b\d\d:\d\d:\d\d\b", "<time>"),
    (r"\b\d+(\.\d+)?(ms|s)\b", "<duration>"),
    (r"\S+:\d+(?!\S)", "<address>"),
    (r"[ \t]+", " "),
)
"""What differs from one run to the next, and what stands for it; column widths too."""


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_what_a_page_shows_happens(page: Path, tmp_path: Path) -> None:
    with Cluster(tmp_path) as cluster:
        cluster.start_worker()
        reader = Reader(page, tmp_path, cluster.environ)
        for step in steps(page):
            reader.follow(step)


def test_the_commands_that_start_a_cluster_do(tmp_path: Path) -> None:
    """As a newcomer types them, in one directory and without any variable but the one that avoids a port in use."""
    master_words, worker_words = (step.text.split() for step in steps(README) if step.kind == "start")
    environ = _environ(tmp_path) | {"TITAN_MASTER_PORT": "0"}
    address = tmp_path / ".titan" / "master.json"
    programs = []
    try:
        programs.append(Program("master", _arguments(master_words), tmp_path, environ))
        wait_until(address.exists, 20, programs[0].tail)
        port = str(json.loads(address.read_text())["port"])
        free = {"8081": "0", "9090": port}
        words = [free.get(word, word) for word in worker_words]
        programs.append(Program("worker", _arguments(words), tmp_path, environ))
        wait_until(lambda: "registered" in programs[1].tail(), 20, programs[1].tail)
        shown = subprocess.run(["titan"], cwd=tmp_path, env=environ, input="workers\nexit\n", **_CAPTURED)  # type: ignore[call-overload]
        assert "ONLINE" in shown.stdout and shown.returncode == 0, shown.stdout
    finally:
        for program in reversed(programs):
            program.signal(signal.SIGINT)
    assert [program.process.wait(STOP_S) for program in reversed(programs)] == [0, 0]


class Reader:
    """Follows the steps of a page in `home`, as somebody who reads it would."""

    def __init__(self, page: Path, home: Path, environ: dict[str, str]) -> None:
        self._page = page
        self._home = home
        self._environ = environ | _environ(home)
        self._printed = ""
        self._kinds: dict[str, Callable[[Step], None]] = {
            "save": self._save,
            "run": self._run,
            "output": self._compare,
            "load": lambda step: self._load(step.argument),
            "start": lambda step: None,  # there is a cluster
        }

    def follow(self, step: Step) -> None:
        self._kinds[step.kind](step)

    def _save(self, step: Step) -> None:
        path = self._home / step.argument
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.text)

    def _load(self, path: str) -> None:
        assert load(self._home / path).jobs

    def _run(self, step: Step) -> None:
        command = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": ["python", "-c"]}[step.language]
        done = subprocess.run([*command, step.text], cwd=self._home, env=self._environ, **_CAPTURED)  # type: ignore[call-overload]
        self._printed = done.stdout
        assert done.returncode == int(step.argument or 0), f"{self._page.name}:{step.line}\n{done.stdout}"

    def _compare(self, step: Step) -> None:
        assert _constant(self._printed) == _constant(step.text), f"{self._page.name}:{step.line}\n{self._printed}"


_CAPTURED = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "timeout": RUN_S}


def _arguments(words: list[str]) -> list[str]:
    assert words[:2] == ["python", "-m"]
    return words[2:]


def _environ(home: Path) -> dict[str, str]:
    """A shell in which Titan is installed: `titan` and `python` are there, and no variable of Titan's."""
    programs = home / "bin"
    programs.mkdir(exist_ok=True)
    for name, module in (("python", ""), ("titan", "-m titan_sdk.titan_cli")):
        (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        (programs / name).chmod(0o755)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
    return kept | {"PATH": f"{programs}:{os.environ['PATH']}"}


def _constant(text: str) -> str:
    for pattern, replacement in VARYING:
        text = re.sub(pattern, replacement, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
