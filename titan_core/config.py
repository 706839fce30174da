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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from titan_core.errors import ConfigError, InvalidRequest
from titan_core.net.credentials import DEFAULT_PORT, find_master, home_directory
from titan_core.net.dial import split_address
from titan_core.protocol.checks import MAX_SERVICES, MAX_SLOTS, check_capability
from titan_core.protocol.wire import MIB

LOG_LEVELS = ("debug", "info", "warning", "error")

Kind = Callable[[Any], Any]
"""Makes a setting's value of what was written, or raises ValueError with what it must be."""


def setting(default: Any, kind: Kind, variable: str = "", outranked_by: str = "", flag: str = "") -> Any:
    """Declare a setting. `variable`: its TITAN_* name, where it is not TITAN_<SECTION>_<NAME>; `flag` likewise.

    `outranked_by`: a variable that says the same thing in another way; set, it silences all but the flag.
    """
    metadata = {"kind": kind, "variable": variable, "outranked_by": outranked_by, "flag": flag}
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


# ── the kinds of values ───────────────────────────────────────────────────────────────────────────


def text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip() or any(ord(char) < 32 for char in value):
        raise ValueError("it must be a text that is not empty")
    return value.strip()


def host_name(value: Any) -> str:
    """The name of a machine or an address; part of a worker's id, so without blanks, `/` and `,`."""
    name = text(value)
    if len(name) > 255 or any(char in " /," for char in name):
        raise ValueError("it must be the name of a host, or an address")
    return name


def path(value: Any) -> Path:
    if isinstance(value, Path):
        return value.absolute()
    return Path(text(value)).expanduser().absolute()


def path_text(value: Any) -> str:
    return str(path(value))


def whole(low: int, high: int) -> Kind:
    def parse(value: Any) -> int:
        number = value
        if isinstance(value, str) and value.strip().lstrip("-").isdecimal():
            number = int(value)
        if type(number) is not int or not low <= number <= high:
            raise ValueError(f"it must be a whole number from {low} to {high}")
        return number

    return parse


def seconds(low: float, high: float) -> Kind:
    def parse(value: Any) -> float:
        try:
            number = float(value) if not isinstance(value, bool) else -1.0
        except (TypeError, ValueError):
            number = -1.0
        if not low <= number <= high:
            raise ValueError(f"it must be a number of seconds from {low:g} to {high:g}")
        return number

    return parse


def switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    if str(value).strip().lower() not in known:
        raise ValueError("it must be true or false")
    return known[str(value).strip().lower()]


def level(value: Any) -> str:
    name = str(value).strip().lower()
    if name not in LOG_LEVELS:
        raise ValueError(f"it must be one of {', '.join(LOG_LEVELS)}")
    return name


def capabilities(value: Any) -> tuple[str, ...]:
    """`GPU,HIGH_MEM` or a list; without duplicates, in the order given."""
    names = _items(value)
    try:
        return tuple(dict.fromkeys(check_capability(name) for name in names))
    except InvalidRequest:
        raise ValueError("it must be names such as GENERAL or GPU, separated by commas") from None


def networks(value: Any) -> tuple[str, ...]:
    try:
        return tuple(str(ipaddress.ip_network(name, strict=False)) for name in _items(value))
    except ValueError:
        raise ValueError("it must be networks such as 127.0.0.0/8, separated by commas") from None


def _items(value: Any) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(item, str) for item in texts):
        raise ValueError("it must be a text or a list of texts")
    items = [part.strip() for item in texts for part in item.split(",") if part.strip()]
    if not items:
        raise ValueError("it must not be empty")
    return items


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
    log_level: str = setting("info", level, "TITAN_LOG_LEVEL")
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
    """Not to be shut down when there is little to do."""
    slots: int = setting(4, whole(1, MAX_SLOTS))
    """Jobs at the same time."""
    max_services: int = setting(32, whole(0, MAX_SERVICES))
    """Services beside them."""
    hostname: str = setting(socket.gethostname, host_name)
    """With the port, the worker's name in the cluster."""
    token_file: str | None = setting(None, path_text, "TITAN_TOKEN_FILE", "TITAN_TOKEN")
    log_level: str = setting("info", level, "TITAN_LOG_LEVEL")
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
    return config


def load_worker(flags: Mapping[str, Any], environ: Mapping[str, str]) -> WorkerConfig:
    """The worker's settings, like `load_master`; where nobody names a master, the one of this home, if it runs."""
    values = _collect(WorkerConfig, "worker", _with_master(flags, environ), environ)
    if "master_host" not in values and "master_port" not in values:
        values["master_host"], values["master_port"] = find_master(home=values["home"], environ={})
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
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{source} can not be read: {getattr(error, 'strerror', None) or error}") from None


def _parse(field: dataclasses.Field[Any], section: str, value: Any, source: str) -> Any:
    try:
        return field.metadata["kind"](value)
    except ValueError as error:
        raise ConfigError(f"{section} {field.name} is {value!r} ({source}): {error}") from None


def _suggestion(name: str, fields: Mapping[str, dataclasses.Field[Any]]) -> str:
    known = sorted(fields.keys() - {"home"})
    close = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(known)}"
