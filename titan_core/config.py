"""Every setting of the master and of a worker: its name, default, limits and meaning, declared once.

A setting is taken from the first place that has it:

    flag on the command line  >  TITAN_* variable  >  <home>/.titan/config  >  default

The file is a YAML mapping with the sections `master:` and `worker:`, whose keys are the names of the
fields below. A setting `x` of the worker is `--x`, TITAN_WORKER_X and `worker: {x: …}`; where the flag
or the variable has another name, the field says so, and what is seldom changed has no flag. Whatever
can not be used is refused here, once, with a sentence that names the setting and the place it came
from; the rest of the program trusts the values.

Knows nothing of sockets and threads. Used by the main threads, before anything is started.
"""

from __future__ import annotations

import dataclasses
import difflib
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from titan_core.errors import ConfigError
from titan_core.net.credentials import DEFAULT_PORT, find_master, home_directory
from titan_core.net.dial import split_address
from titan_core.protocol.checks import MAX_SERVICES, MAX_SLOTS, shortened
from titan_core.protocol.wire import MIB
from titan_core.setting_kinds import (
    Kind,
    capabilities,
    command_line,
    host_name,
    host_name_or_none,
    networks,
    one_of,
    path,
    path_text,
    port_range,
    seconds,
    switch,
    url,
    whole,
    worker_name_or_none,
)

LOG_LEVELS = ("debug", "info", "warning", "error")
PROVISIONERS = ("inception", "webhook", "command", "none")


def setting(default: Any, kind: Kind, variable: str = "", outranked_by: str = "", flag: str = "") -> Any:
    """Declare a setting. `variable`: its TITAN_* name, where it is not TITAN_<SECTION>_<NAME>; `flag` likewise.

    `outranked_by`: a variable that says the same thing in another way; set, it silences all but the flag.
    """
    metadata = {"kind": kind, "variable": variable, "outranked_by": outranked_by, "flag": flag}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


# ── the settings ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class MasterConfig:
    home: Path = setting(home_directory, path, "TITAN_HOME")
    """The directory of perm_files/, titan_workspace/ and .titan/."""
    host: str = setting("127.0.0.1", host_name)
    """The address to listen on."""
    port: int = setting(DEFAULT_PORT, whole(0, 65535))
    """0 = a free one."""
    legacy_clients: bool = setting(False, switch)
    """Serve text clients, which prove nothing, if they come from `legacy_network`."""
    legacy_network: tuple[str, ...] = setting(("127.0.0.0/8", "::1/128"), networks)
    heartbeat_s: float = setting(10.0, seconds(0.05, 3600))
    death_s: float = setting(30.0, seconds(0.1, 86400))
    """A worker that was silent for so long is dead."""
    grace_s: float = setting(60.0, seconds(0, 86400))
    """After a start of the master, what its workers get to come back before their attempts are lost."""
    keep_days: float = setting(30.0, seconds(0, 36500))
    """Finished runs older than this are deleted, with their logs and files; 0 = never for their age."""
    keep_runs: int = setting(10_000, whole(0, 10_000_000))
    """Finished runs beyond this number are deleted, the oldest first; 0 = never for their number."""
    min_free_mib: int = setting(32, whole(0, 1 << 20))
    """With less room on its disk the master takes no new submissions, so that what runs can end; MiB."""
    in_memory: bool = setting(False, switch)
    """Store nothing: all that is known of runs ends with the process. For throw-away clusters."""
    provisioner: str = setting("inception", one_of(*PROVISIONERS))
    """How the cluster grows: `inception` (a worker starts another one beside it), `webhook`, `command`, or `none`."""
    max_workers: int = setting(5, whole(0, 10_000))
    """The cluster does not grow beyond so many workers, whoever started them."""
    max_workers_per_pool: int = setting(0, whole(0, 10_000))
    """The same for the workers of one capability; 0 = no limit of its own."""
    max_workers_per_host: int = setting(0, whole(0, 10_000))
    """The same for one machine; 0 = four for each of its processors."""
    scale_s: float = setting(15.0, seconds(0.05, 3600))
    """How often waiting jobs are held against free slots, beside the moments in which a pool has just filled up."""
    scale_up_s: float = setting(1.0, seconds(0, 3600))
    """A pool grows when jobs found no free slot for so long."""
    scale_down_s: float = setting(45.0, seconds(0.05, 86400))
    """An ephemeral worker that is idle for so long is stopped, if its pool has not grown within that time."""
    worker_ports: tuple[int, int] = setting((8090, 8200), port_range)
    """The ports that workers of the inception provisioner get."""
    provision_s: float = setting(300.0, seconds(0.1, 86400))
    """What a worker of the webhook or command provisioner may take to register, before another one is asked for."""
    webhook_url: str = setting("", url)
    webhook_secret_file: str | None = setting(None, path_text)
    """With what is in it, calls of the webhook are signed."""
    provision_command: str = setting("", command_line)
    """Run, without a shell, when workers are wanted; {capability} and {count} are filled in."""
    release_command: str = setting("", command_line)
    """The same when the master stops a worker that is idle; {worker} and {capability} are filled in."""
    restart_max_s: float = setting(60.0, seconds(0, 86400))
    """The longest pause before a service that has ended is started again."""
    crash_loop_restarts: int = setting(10, whole(1, 1_000_000))
    """More restarts within ten minutes, or in a row, are a crash loop."""
    crash_loop_retry_s: float = setting(3600.0, seconds(0.01, 365 * 86400))
    """How long a service rests in its crash loop before it is tried again."""
    log_level: str = setting("info", one_of(*LOG_LEVELS), "TITAN_LOG_LEVEL")
    token_file: str | None = setting(None, path_text, "TITAN_TOKEN_FILE", "TITAN_TOKEN")

    def admits_legacy(self, host: str) -> bool:
        """Whether a text client may connect from this address."""
        if not self.legacy_clients:
            return False
        address = ipaddress.ip_address(host.strip("[]").partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in ipaddress.ip_network(network) for network in self.legacy_network)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    home: Path = setting(home_directory, path, "TITAN_HOME")
    """The directory of titan_workspace/."""
    port: int = setting(8080, whole(0, 65535))
    """The worker's identity on its host; 0 = a free one."""
    master_host: str = setting("localhost", host_name, flag="--master")
    master_port: int = setting(DEFAULT_PORT, whole(1, 65535), flag="--master")
    capabilities: tuple[str, ...] = setting(("GENERAL",), capabilities, flag="--capability")
    permanent: bool = setting(False, switch)
    """Nobody stops it by mistake: only with --force."""
    ephemeral: bool = setting(False, switch)
    """Stopped by the master when there is nothing to do, and by itself when there is no master for two minutes."""
    address: str = setting("", host_name_or_none)
    """Where its services are reached; empty: the address from which it dials the master."""
    parent: str = setting("", worker_name_or_none)
    """The worker that started it; set by that one."""
    slots: int = setting(4, whole(1, MAX_SLOTS))
    """Jobs at the same time."""
    max_services: int = setting(32, whole(0, MAX_SERVICES))
    """Services beside them."""
    warm: bool = setting(True, switch, flag="--no-warm")
    """Python scripts begin in a process that has started already, as far as they can."""
    hostname: str = setting(socket.gethostname, host_name)
    """With the port, the worker's name in the cluster."""
    token_file: str | None = setting(None, path_text, "TITAN_TOKEN_FILE", "TITAN_TOKEN")
    log_level: str = setting("info", one_of(*LOG_LEVELS), "TITAN_LOG_LEVEL")
    reconnect_min_s: float = setting(0.1, seconds(0.001, 60))
    reconnect_max_s: float = setting(10.0, seconds(0.001, 3600))
    shutdown_grace_s: float = setting(10.0, seconds(0, 3600))
    """What a job gets between its stop signal and SIGKILL when the worker stops, if its own grace is not shorter."""
    max_log_bytes: int = setting(64 * MIB, whole(4096, 1 << 40))
    """What is kept of one attempt's output: half of it from the beginning, half from the end; the log says what was
    cut. Not of a service, whose logs rotate."""


# ── reading them ──────────────────────────────────────────────────────────────────────────────────


def load_master(flags: Mapping[str, Any], environ: Mapping[str, str]) -> MasterConfig:
    """The master's settings. `flags` holds the values given on the command line, by field; None = not given."""
    config = MasterConfig(**_collect(MasterConfig, "master", flags, environ))
    if config.death_s <= config.heartbeat_s:
        raise ConfigError(
            f"master death_s is {config.death_s:g}: it must be more than heartbeat_s ({config.heartbeat_s:g})"
        )
    _check_provisioner(config)
    return config


def _check_provisioner(config: MasterConfig) -> None:
    """Whoever asks others for workers must know how to reach them."""
    if config.provisioner == "webhook" and not config.webhook_url:
        raise ConfigError("master provisioner is webhook: it needs webhook_url, the address that is called")
    if config.provisioner == "command" and not config.provision_command:
        raise ConfigError("master provisioner is command: it needs provision_command, which is run")


def load_worker(flags: Mapping[str, Any], environ: Mapping[str, str]) -> WorkerConfig:
    """The worker's settings, like `load_master`; where nobody names a master, the one of this home, if it runs."""
    values = _collect(WorkerConfig, "worker", _with_master(flags, environ), environ)
    if "master_host" not in values and "master_port" not in values:
        values["master_host"], values["master_port"] = find_master(home=values["home"], environ={})
    if values.get("permanent") and values.get("ephemeral"):
        raise ConfigError("a worker is permanent or ephemeral, not both")
    return WorkerConfig(**values)


def _with_master(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Mapping[str, Any]:
    """The flags, and what TITAN_MASTER (`host:port`) says where they name no master."""
    address = environ.get("TITAN_MASTER")
    if not address or flags.get("master_host") is not None or flags.get("master_port") is not None:
        return flags
    host, port = split_address(address, DEFAULT_PORT)
    return {**flags, "master_host": host, "master_port": port}


def _collect(
    cls: type[MasterConfig] | type[WorkerConfig], section: str, flags: Mapping[str, Any], environ: Mapping[str, str]
) -> dict[str, Any]:
    """Every value that is given somewhere, by field; `home` always."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    home = _from_call(fields["home"], section, flags, environ) or Path.cwd()
    values = _from_file(home / ".titan" / "config", fields, section, environ)
    for field in fields.values():
        given = _from_call(field, section, flags, environ)
        if given is not None:
            values[field.name] = given
    return {**values, "home": home}


def _from_call(
    field: dataclasses.Field[Any], section: str, flags: Mapping[str, Any], environ: Mapping[str, str]
) -> Any:
    """The value a flag or a variable gives; None when neither does."""
    if flags.get(field.name) is not None:
        flag = field.metadata["flag"] or f"--{field.name.replace('_', '-')}"
        return _parse(field, section, flags[field.name], flag)
    variable = field.metadata["variable"] or f"TITAN_{section}_{field.name}".upper()
    if environ.get(variable) and not environ.get(field.metadata["outranked_by"]):
        return _parse(field, section, environ[variable], variable)
    return None


def _from_file(
    source: Path, fields: Mapping[str, dataclasses.Field[Any]], section: str, environ: Mapping[str, str]
) -> dict[str, Any]:
    """The section's values in the file; empty when there is no file."""
    values = {}
    for name, value in _read_sections(source).get(section, {}).items():
        if name not in fields or name == "home":
            raise ConfigError(f"{source}: {section}.{name} is not a setting{_suggestion(name, fields)}")
        if not environ.get(fields[name].metadata["outranked_by"]):
            values[name] = _parse(fields[name], section, value, str(source))
    return values


def _read_sections(source: Path) -> dict[str, dict[str, Any]]:
    """The file's sections, checked to be mappings; a section without content is an empty one."""
    if not source.is_file():
        return {}
    content = _read_yaml(source)
    if not isinstance(content, dict):
        raise ConfigError(f"{source}: it must hold the sections 'master:' and 'worker:'")
    for name, values in content.items():
        if name not in ("master", "worker"):
            raise ConfigError(f"{source}: {name!r} is not a section; there are 'master' and 'worker'")
        if values is not None and not (isinstance(values, dict) and all(isinstance(key, str) for key in values)):
            raise ConfigError(f"{source}: the section {name!r} must hold settings, as 'name: value'")
    return {name: values or {} for name, values in content.items()}


def _read_yaml(source: Path) -> Any:
    import yaml  # here, so that nobody without a file pays for it

    try:
        return yaml.safe_load(source.read_text()) or {}
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{source}, line {line}: not YAML: {error.problem}") from None
    except (OSError, ValueError, yaml.YAMLError) as error:  # ValueError: not UTF-8; a number without end
        raise ConfigError(f"{source} can not be read: {getattr(error, 'strerror', None) or error}") from None


def _parse(field: dataclasses.Field[Any], section: str, value: Any, source: str) -> Any:
    try:
        return field.metadata["kind"](value)
    except ValueError as error:
        raise ConfigError(f"{section} {field.name} is {shortened(repr(value))} ({source}): {error}") from None


def _suggestion(name: str, fields: Mapping[str, dataclasses.Field[Any]]) -> str:
    known = sorted(fields.keys() - {"home"})
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
