"""A scripted master, and those who ask it: a client, and the program `titan` in this process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_sdk import TitanClient
from titan_test_suite.pytests.support.scripted_master import TOKEN, ScriptedMaster, scripted_master
from titan_test_suite.pytests.support.titan_calls import Titan


@pytest.fixture
def master() -> Iterator[ScriptedMaster]:
    with scripted_master() as running:
        yield running


@pytest.fixture
def client(master: ScriptedMaster) -> Iterator[TitanClient]:
    with TitanClient("127.0.0.1", master.port, token=TOKEN, timeout=5.0) as connected:
        yield connected


@pytest.fixture
def titan(
    master: ScriptedMaster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Titan:
    """`titan` in the directory `tmp_path`, with the master's token and nothing else in the environment."""
    for name in ("TITAN_MASTER", "TITAN_TOKEN_FILE", "TITAN_HOME", "TITAN_RUN_ID", "TITAN_ATTEMPT_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TITAN_TOKEN", TOKEN)
    monkeypatch.chdir(tmp_path)
    return Titan(master, capsys)
