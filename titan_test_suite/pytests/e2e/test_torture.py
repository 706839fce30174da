"""What the storm says when it can not begin. A minute of it blows in `.ci/run`, longer ones by `make torture`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def test_a_storm_that_can_not_begin_says_so(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    command = [sys.executable, "-m", "titan_test_suite.torture", "--home", str(gone), "--minutes", "0.01"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert refused.returncode == 2
    assert f"{gone} is not a directory" in refused.stderr
