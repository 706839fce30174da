"""Settings come from the first place that has them, and what can not be used is said with its place."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from titan_core.config import PROVISIONERS, load_master, load_worker
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
        ({"token_file": "~nobody-of-this-name/t"}, {}, ["token_file", "user after '~'"]),
        ({"address": "a b"}, {}, ["address", "'a b'", "--address"]),
        ({"parent": "box"}, {}, ["parent", "'box'", "build-host:8080"]),
        ({"parent": "box:0"}, {}, ["parent", "name of a worker"]),
        ({"parent": "a b:1"}, {}, ["parent", "name of a worker"]),
        ({"slots": "9" * 5000}, {}, ["slots", "1 to 256"]),
        ({"slots": "--5"}, {}, ["slots", "1 to 256"]),
        ({}, {"TITAN_WORKER_SHUTDOWN_GRACE_S": "9" * 5000}, ["shutdown_grace_s", "0 to 3600"]),
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
        ("worker:\n  colour: red\n", ["worker.colour", "there are address, capabilities, "]),
        ("worker:\n  home: /x\n", ["worker.home is not a setting"]),
        ("workers:\n  port: 1\n", ["'workers' is not a section"]),
        ("worker: 8080\n", ["section 'worker'", "name: value"]),
        ("- worker\n", ["must hold the sections"]),
        ("worker:\n\tport: 1\n", ["line 2", "not YAML"]),
        ("worker:\n  port: true\n", ["worker port is True", ".titan/config"]),
        ("worker:\n  slots: [1]\n", ["slots", "whole number"]),
        ("master:\n  port: 9090\nworker:\n  port: -1\n", ["worker port is -1"]),
        ("worker:\n  address: no\n", ["worker address is False", "must be a text"]),
        ("worker:\n  parent: []\n", ["worker parent is []"]),
        pytest.param(f"worker:\n  slots: {'9' * 5000}\n", ["can not be read"], id="endless"),
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


# ── how the cluster grows ─────────────────────────────────────────────────────────────────────────


def test_by_default_workers_start_workers(tmp_path: Path) -> None:
    config = load_master({}, env(tmp_path))
    assert (config.provisioner, config.max_workers, config.worker_ports) == ("inception", 5, (8090, 8200))
    assert (config.scale_s, config.scale_up_s, config.scale_down_s) == (15.0, 1.0, 45.0)
    assert (config.webhook_url, config.webhook_secret_file, config.provision_command) == ("", None, "")


@pytest.mark.parametrize("name", PROVISIONERS)
def test_every_provisioner_can_be_had(tmp_path: Path, name: str) -> None:
    needed = {"webhook_url": "https://host/scale?x=1", "provision_command": "sbatch 'a b' {capability}"}
    assert load_master({"provisioner": name.upper(), **needed}, env(tmp_path)).provisioner == name


@pytest.mark.parametrize("written", ["8100-8101", " 8100 - 8101 ", [8100, 8101], ["8100", "8101"]])
def test_two_ports_are_a_range(tmp_path: Path, written: object) -> None:
    assert load_master({"worker_ports": written}, env(tmp_path)).worker_ports == (8100, 8101)


def test_a_range_of_one_port(tmp_path: Path) -> None:
    write_config(tmp_path, "master:\n  worker_ports: 8100-8100\n")
    assert load_master({}, env(tmp_path)).worker_ports == (8100, 8100)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("provisioner: cloud", ["provisioner is 'cloud'", "inception, webhook, command, none"]),
        ("provisioner: no", ["provisioner is False", "must be one of"]),
        ("provisioner:", ["provisioner is None", "must be one of"]),
        ("provisioner: [webhook]", ["provisioner is ['webhook']"]),
        ("provisioner: webhook", ["provisioner is webhook: it needs webhook_url"]),
        ("provisioner: command", ["provisioner is command: it needs provision_command"]),
        ("max_workers: -1", ["max_workers is -1", "0 to 10000"]),
        ("max_workers: true", ["max_workers is True", "whole number"]),
        ("max_workers: 2.5", ["max_workers is 2.5"]),
        ("max_workers: [5]", ["max_workers is [5]"]),
        ("max_workers_per_pool: many", ["max_workers_per_pool is 'many'"]),
        ("max_workers_per_host: 99999999999999999999", ["max_workers_per_host", "0 to 10000"]),
        ("scale_s: 0", ["scale_s is 0", "0.05 to 3600"]),
        ("scale_s: .inf", ["scale_s is inf"]),
        pytest.param(f"scale_s: 1{'0' * 400}", ["scale_s is 1000", "0.05 to 3600"], id="endless"),
        ("scale_up_s: -1", ["scale_up_s is -1"]),
        ("scale_down_s: [45]", ["scale_down_s is [45]", "number of seconds"]),
        ("scale_down_s: true", ["scale_down_s is True"]),
        ("provision_s: .nan", ["provision_s is nan"]),
        ("worker_ports: 8090", ["worker_ports is 8090", "such as 8090-8200"]),
        ("worker_ports: '8090'", ["worker_ports is '8090'", "such as 8090-8200"]),
        ("worker_ports: 8090:8200", ["worker_ports", "such as 8090-8200"]),
        ("worker_ports: 8200-8090", ["the lower one first"]),
        ("worker_ports: 0-100", ["two ports from 1 to 65535"]),
        ("worker_ports: 8090-99999", ["two ports from 1 to 65535"]),
        ("worker_ports: [8090]", ["such as 8090-8200"]),
        ("worker_ports: [8090, 8091, 8092]", ["such as 8090-8200"]),
        ("worker_ports: [true, 8200]", ["two ports from 1 to 65535"]),
        ("worker_ports: {8090: 1, 8200: 2}", ["such as 8090-8200"]),
        ("webhook_url: ftp://host/", ["webhook_url is 'ftp://host/'", "a URL such as http://"]),
        ("webhook_url: host:8000", ["a URL such as http://"]),
        ("webhook_url: 'http://'", ["a URL such as http://"]),
        ("webhook_url: http://host:x/", ["a URL such as http://"]),
        ("webhook_url: http://[::1/", ["a URL such as http://"]),
        ("webhook_url: 'http://a b/'", ["a URL such as http://"]),
        ("webhook_url: http://host/ä", ["a URL such as http://"]),
        ("webhook_url: http://user:secret@host/", ["without a user and a password"]),
        ("webhook_url: [http://host/]", ["a URL such as http://"]),
        ("webhook_url: 5", ["webhook_url is 5"]),
        ("webhook_secret_file: 5", ["webhook_secret_file is 5", "text that is not empty"]),
        ("provision_command: [sbatch, x]", ["it must be a command line"]),
        ("provision_command: 5", ["it must be a command line"]),
        ('provision_command: "sbatch \'x"', ["split as a shell would: no closing quotation"]),
        ("provision_command: 'sbatch \\'", ["split as a shell would: no escaped character"]),
        ("provision_command: \"'' x\"", ["begin with the name of a program"]),
        ('release_command: "scancel\\0"', ["it must be a command line"]),
        ("restart_max_s: -1", ["restart_max_s is -1"]),
        ("crash_loop_restarts: 0", ["crash_loop_restarts is 0", "1 to 1000000"]),
        ("crash_loop_retry_s: 0", ["crash_loop_retry_s is 0"]),
    ],
)
def test_how_it_grows_can_not_be_said_so(tmp_path: Path, content: str, words: list) -> None:
    write_config(tmp_path, f"master:\n  {content}\n")
    with pytest.raises(ConfigError) as refused:
        load_master({}, env(tmp_path))
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_a_refusal_is_not_as_long_as_what_it_refuses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        load_master({"provisioner": "x" * 1_000_000}, env(tmp_path))
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("places", ["flags", "file", "both"])
def test_no_worker_is_permanent_and_ephemeral(tmp_path: Path, places: str) -> None:
    given = {"permanent": True, "ephemeral": True}
    if places == "file":
        write_config(tmp_path, "worker:\n  permanent: true\n  ephemeral: true\n")
        given = {}
    elif places == "both":
        write_config(tmp_path, "worker:\n  permanent: true\n")
        del given["permanent"]
    with pytest.raises(ConfigError, match="permanent or ephemeral, not both"):
        load_worker(given, env(tmp_path))


def test_who_a_worker_is(tmp_path: Path) -> None:
    config = load_worker({"ephemeral": True, "address": "10.0.0.5", "parent": "box:8080"}, env(tmp_path))
    assert (config.ephemeral, config.address, config.parent) == (True, "10.0.0.5", "box:8080")
    assert load_worker({"address": "", "parent": ""}, env(tmp_path)).parent == ""
