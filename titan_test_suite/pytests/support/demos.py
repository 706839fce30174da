"""Demonstrations as a user starts them: what they show, and whether anything is left of them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from titan_test_suite.pytests.support.documents import ROOT
from titan_test_suite.pytests.support.waiting import wait_until

DEMO_S = 40
"""What one may take, all in all."""


@contextmanager
def demo(module: str, output: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The demonstration `module`, running; what it shows goes to `output`."""
    environ = {**os.environ, "TITAN_MASTER": "127.0.0.1:1", "TITAN_TOKEN": "of another cluster"}
    command = [sys.executable, "-m", f"titan_test_suite.{module}", *arguments]
    with open(output, "wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=file, stderr=file, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(DEMO_S)


def shows(output: Path, text: str) -> None:
    wait_until(lambda: text in output.read_text(), DEMO_S, output.read_text)


def home_of(output: Path) -> Path:
    found = re.search(r"^home +(\S+)$", output.read_text(), re.MULTILINE)
    assert found
    return Path(found[1])


def nothing_is_left(home: Path) -> bool:
    """No file of the demo, and no process that was given its home or its shared directory."""
    environments = []
    for process in psutil.process_iter():
        try:
            environments.append(process.environ())
        except psutil.Error:
            continue
    return not home.exists() and not any(str(home) in value for e in environments for value in e.values())


def planned(target: str) -> str:
    """What `make` would run for this target."""
    command = ["make", "--no-print-directory", "-n", *target.split()]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
