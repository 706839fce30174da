"""The environment a job sees: little of the worker's, what the job asks for, and what Titan tells it.

Pure functions of their arguments.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import titan_core
from titan_core.net.credentials import token_path
from titan_core.protocol.checks import service_variable
from titan_core.protocol.messages import StartAttempt
from titan_core.worker.procfs import TOKEN_VARIABLE

_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "TZ", "TMPDIR", "JAVA_HOME")
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_INSTALLED = ("site-packages", "dist-packages")
_PREFIX = "TITAN_"
_PLACEHOLDER = re.compile(r"\{([a-z0-9_]+)\}")


def worker_part(
    environ: Mapping[str, str], home: Path, token_file: str | None, master: tuple[str, int]
) -> dict[str, str]:
    """What every job of a worker gets: the kept variables, and how to call back to the master."""
    kept = {name: value for name, value in environ.items() if name in _KEPT or name.startswith("LC_")}
    kept.setdefault("PATH", _DEFAULT_PATH)
    if sources := source_root():
        kept["PYTHONPATH"] = sources
    kept["TITAN_MASTER"] = address_of(master)
    return kept | credentials(environ, home, token_file)


def source_root() -> str:
    """What has to be in PYTHONPATH for another Python to find Titan; empty: it is installed."""
    root = Path(titan_core.__file__).parents[1]
    return "" if root.name in _INSTALLED else str(root)


def address_of(master: tuple[str, int]) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    host, port = master
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def attempt_environment(
    common: Mapping[str, str], start: StartAttempt, worker_id: str, shared: str
) -> dict[str, str]:
    """The whole environment of one attempt. The job's own variables outrank the worker's, Titan's outrank both."""
    of_the_run = {name: value for name, value in start.variables if name not in common}
    environment = {
        **common,
        **dict(start.task.env),
        **of_the_run,
        **{service_variable(job_id): address for job_id, address in start.services},
        "TITAN_RUN_ID": start.run_id,
        "TITAN_JOB_ID": start.job_id,
        "TITAN_ATTEMPT": str(start.number),
        TOKEN_VARIABLE: start.token.hex(),
        "TITAN_IDEMPOTENCY_KEY": f"{start.run_id}/{start.job_id}",
        "TITAN_WORKER": worker_id,
        "TITAN_SHARED": shared,
    }
    if start.task.port:
        environment["PORT"] = environment["TITAN_PORT"] = str(start.task.port)
    return environment


def filled(args: Iterable[str], variables: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The arguments, with the value of TITAN_<NAME> for `{name}`, where it is among the variables.

    Whatever else is in braces stays as it is, also in a value that was filled in.
    """
    values = {name.removeprefix(_PREFIX).lower(): value for name, value in variables if name.startswith(_PREFIX)}
    return tuple(_PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), arg) for arg in args)


def credentials(environ: Mapping[str, str], home: Path, token_file: str | None) -> dict[str, str]:
    """What lets another process, such as a job's client, find the token that the worker uses."""
    if token_file is None and environ.get("TITAN_TOKEN"):
        return {"TITAN_TOKEN": environ["TITAN_TOKEN"]}
    path = token_file or environ.get("TITAN_TOKEN_FILE") or str(token_path(home))
    return {"TITAN_TOKEN_FILE": str(Path(path).absolute())}
