"""Settings come from the first place that has them, and what can not be used is said with its place."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from titan_core.config import load_master, load_worker
from titan_core.errors import ConfigError


def write_config(home: Path, text: str) -> None:
    (home / ".titan").mkdir(exist_ok=True)
    (home / ".titan" / "config").write_text(text)


def env(home: Path, **variables: str) -> dict[str, str]:
    return {"TITAN_HOME": str(home), **variables}


def test_defaults(tmp_path: Path) -> None:
    master, worker = load_master({}, env(tmp_path)), load_worker({}, env(tmp_path))
    assert (master.host, master.port, master.heartbeat_s, master.death_s) == ("127.0.0.1", 9090, 10.0, 30.0)
    assert (worker.port, worker.master_host, worker.master_port) == (8080, "localhost", 9090)
    assert (worker.capabilities, worker.permanent, worker.slots) == (("GENERAL",), False, 4)
    assert worker.hostname == socket.gethostname()
    assert worker.home == tmp_path
    assert worker.token_file is None


def test_the_home_is_the_current_directory_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_master({}, {}).home == tmp_path
    assert load_master({"home": "below"}, {}).home == tmp_path / "below"


def test_flag_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    write_config(tmp_path, "worker:\n  slots: 5\n")
    assert load_worker({}, env(tmp_path)).slots == 5
    assert load_worker({}, env(tmp_path, TITAN_WORKER_SLOTS="6")).slots == 6
    assert load_worker({"slots": 7}, env(tmp_path, TITAN_WORKER_SLOTS="6")).slots == 7


def test_each_section_is_read_by_its_own_process(tmp_path: Path) -> None:
    write_config(tmp_path, "master:\n  port: 9191\n  legacy_clients: yes\nworker:\n  capabilities: [GPU, FPGA]\n")
    assert load_master({}, env(tmp_path)).port == 9191
    assert load_worker({}, env(tmp_path)).port == 8080
    assert load_worker({}, env(tmp_path)).capabilities == ("GPU", "FPGA")


def test_capabilities_as_commas_and_repeated_flags(tmp_path: Path) -> None:
    config = load_worker({"capabilities": ["GPU,HIGH_MEM", "GPU", "FPGA"]}, env(tmp_path))
    assert config.capabilities == ("GPU", "HIGH_MEM", "FPGA")


def test_the_master_of_this_home_is_found(tmp_path: Path) -> None:
    (tmp_path / ".titan").mkdir()
    (tmp_path / ".titan" / "master.json").write_text(json.dumps({"host": "127.0.0.1", "port": 4444}))
    found = load_worker({}, env(tmp_path))
    assert (found.master_host, found.master_port) == ("127.0.0.1", 4444)


@pytest.mark.parametrize(
    ("flags", "variables", "expected"),
    [
        ({}, {"TITAN_MASTER": "m1:7000"}, ("m1", 7000)),
        ({"master_host": "m2"}, {"TITAN_MASTER": "m1:7000"}, ("m2", 9090)),
        ({"master_host": "m2", "master_port": 1234}, {}, ("m2", 1234)),
    ],
)
def test_whoever_names_a_master_beats_the_one_that_is_found(
    tmp_path: Path, flags: dict, variables: dict, expected: tuple
) -> None:
    (tmp_path / ".titan").mkdir()
    (tmp_path / ".titan" / "master.json").write_text(json.dumps({"host": "127.0.0.1", "port": 4444}))
    config = load_worker(flags, env(tmp_path, **variables))
    assert (config.master_host, config.master_port) == expected


def test_a_token_in_the_environment_silences_the_file(tmp_path: Path) -> None:
    write_config(tmp_path, f"worker:\n  token_file: {tmp_path}/t\n")
    assert load_worker({}, env(tmp_path)).token_file == f"{tmp_path}/t"
    assert load_worker({}, env(tmp_path, TITAN_TOKEN="x" * 16)).token_file is None
    assert load_worker({"token_file": "/f"}, env(tmp_path, TITAN_TOKEN="x" * 16)).token_file == "/f"


@pytest.mark.parametrize(
    ("flags", "variables", "words"),
    [
        ({"port": "many"}, {}, ["worker port", "'many'", "--port", "whole number from 0 to 65535"]),
        ({"port": 70000}, {}, ["70000", "--port"]),
        ({"slots": 0}, {}, ["slots", "1 to 256"]),
        ({"permanent": "maybe"}, {}, ["permanent", "true or false"]),
        ({"capabilities": ["G P U"]}, {}, ["capabilities", "GENERAL or GPU"]),
        ({"capabilities": [","]}, {}, ["capabilities", "must not be empty"]),
        ({"hostname": "a b"}, {}, ["hostname", "'a b'"]),
        ({}, {"TITAN_WORKER_SLOTS": "4.5"}, ["slots", "TITAN_WORKER_SLOTS"]),
        ({}, {"TITAN_LOG_LEVEL": "loud"}, ["log_level", "TITAN_LOG_LEVEL", "debug, info"]),
        ({}, {"TITAN_MASTER": "host:port"}, ["'host:port'", "host:port"]),
        ({}, {"TITAN_WORKER_SHUTDOWN_GRACE_S": "nan"}, ["shutdown_grace_s", "seconds"]),
    ],
)
def test_what_can_not_be_used_is_refused_with_its_place(
    tmp_path: Path, flags: dict, variables: dict, words: list
) -> None:
    with pytest.raises(ConfigError) as refused:
        load_worker(flags, env(tmp_path, **variables))
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("worker:\n  prot: 1\n", ["worker.prot", "did you mean 'port'?"]),
        ("worker:\n  colour: red\n", ["worker.colour", "there are capabilities, "]),
        ("worker:\n  home: /x\n", ["worker.home is not a setting"]),
        ("workers:\n  port: 1\n", ["'workers' is not a section"]),
        ("worker: 8080\n", ["section 'worker'", "name: value"]),
        ("- worker\n", ["must hold the sections"]),
        ("worker:\n\tport: 1\n", ["line 2", "not YAML"]),
        ("worker:\n  port: true\n", ["worker port is True", ".titan/config"]),
        ("worker:\n  slots: [1]\n", ["slots", "whole number"]),
        ("master:\n  port: 9090\nworker:\n  port: -1\n", ["worker port is -1"]),
    ],
)
def test_a_file_that_can_not_be_used_is_refused(tmp_path: Path, content: str, words: list) -> None:
    write_config(tmp_path, content)
    with pytest.raises(ConfigError) as refused:
        load_worker({}, env(tmp_path))
    assert all(word in str(refused.value) for word in words), str(refused.value)


@pytest.mark.parametrize("content", ["", "# nothing yet\n", "worker:\n"])
def test_an_empty_file_changes_nothing(tmp_path: Path, content: str) -> None:
    write_config(tmp_path, content)
    assert load_worker({}, env(tmp_path)).port == 8080


def test_death_takes_longer_than_a_heartbeat(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="death_s is 5: it must be more than heartbeat_s"):
        load_master({"death_s": 5}, env(tmp_path))


def test_legacy_clients_are_admitted_from_their_network_only(tmp_path: Path) -> None:
    assert not load_master({}, env(tmp_path)).admits_legacy("127.0.0.1")
    config = load_master({"legacy_clients": True}, env(tmp_path))
    assert config.admits_legacy("127.0.0.1")
    assert config.admits_legacy("::1")
    assert config.admits_legacy("::ffff:127.0.0.1")
    assert not config.admits_legacy("10.0.0.1")
    wider = load_master({"legacy_clients": True, "legacy_network": "10.0.0.0/8,127.0.0.1"}, env(tmp_path))
    assert wider.admits_legacy("10.1.2.3")
    assert not wider.admits_legacy("127.0.0.2")
