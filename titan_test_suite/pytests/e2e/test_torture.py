"""The crash storm, tried. A minute of it is part of what lets a change land (`.ci/run`)."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

STORM = [sys.executable, "-m", "titan_test_suite.torture"]
MINUTES, DEATH_S = "0.08", "3"
ROOT = Path(__file__).parents[3]


def storm(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*STORM, "--home", str(home), *arguments]
    environ = {**os.environ, "TITAN_MASTER": "127.0.0.1:1", "TITAN_TOKEN": "of another cluster"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=400)


def test_nothing_acknowledged_is_lost_in_a_storm(tmp_path: Path) -> None:
    seed = str(secrets.randbits(32))
    print(f"seed {seed}")
    blown = storm(tmp_path, "--minutes", MINUTES, "--seed", seed, "--death-s", DEATH_S, "--json")
    assert blown.returncode == 0, blown.stderr
    outcome = json.loads(blown.stdout)
    assert outcome["violations"] == []
    assert sum(outcome["kills"].values()) >= 1
    assert outcome["jobs"]["COMPLETED"] >= 10
    assert list(tmp_path.iterdir()) == []


def test_a_storm_that_can_not_begin_says_so(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    refused = storm(gone, "--minutes", "0.01")
    assert refused.returncode == 2
    assert f"{gone} is not a directory" in refused.stderr
