"""What a value in a request may be, said once for the client (early, with file and line) and the master (always).

Every check raises InvalidRequest with a sentence that says what was wrong and what would be right,
and with `field` (and `job`, inside a job) in its details.
"""

from __future__ import annotations

import functools
import operator
import re
import signal
from collections.abc import Iterable
from urllib.parse import urlsplit

from titan_core.errors import InvalidRequest
from titan_core.protocol.messages import JobSpec, SubmitRun, Task

MAX_JOBS = 1_000_000
MAX_ARGS_BYTES = 128 * 1024
"""Bytes of all arguments and variables of a job; the kernel's limit for one argument."""
MAX_DELAY_S = 10 * 365 * 86400.0
MAX_PRIORITY = 1_000_000
MAX_RETRIES = 1_000
MAX_SLOTS = 256
"""Jobs at the same time on one worker."""
MAX_SERVICES = 1_024
"""Services beside them."""
MAX_CAPABILITIES = 64
"""Of one worker."""
MAX_REASON = 500
"""Characters of a reason; it is kept, and shown, with every job it concerns."""
MAX_REQUEST_ID = 64
"""Bytes; clients use 16."""
MAX_NAME = 100
"""Characters of a pipeline's name; the run id adds 21."""
MAX_INSTANCES = 1_000
"""Of one service."""
MAX_SERVICE_ID = 123
"""Characters of a service's job id; those of its instances have up to five more."""
MAX_MEMORY = 1 << 50
"""Bytes; more than any machine has."""
MAX_URL_PATH = 2_048
"""Characters."""
MAX_URL = 2_048
"""The same, of a whole URL."""
WEB_ADDRESS = f"a URL such as http://host:8000/path, without a user and a password, of at most {MAX_URL} characters"
"""What a webhook is, for those who are told that it is none."""
AFFINITIES = ("", "prefer", "strict")
RESTARTS = ("always", "on-failure", "never")
SCOPES = ("cluster", "run")
AUTO_PORT = -1
"""`Task.port`: the worker takes a free one."""

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_CAPABILITY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NOT_IN_VARIABLES = re.compile(r"[^A-Z0-9]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NOT_IN_PATHS = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_NOT_IN_URLS = re.compile(r"[\x00-\x20\x7f]")
_NOT_IN_TEXTS = re.compile(r"[\x00\ud800-\udfff]")
_STOP_SIGNALS = frozenset(map(int, signal.valid_signals() - {signal.SIGSTOP, signal.SIGCONT}))


def shown(text: str) -> str:
    """`text` quoted for a message: control characters escaped, shortened to 60 characters."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def shortened(reason: str) -> str:
    """`reason` with at most MAX_REASON characters."""
    return reason if len(reason) <= MAX_REASON else reason[: MAX_REASON - 1] + "…"


def check_id(text: str, field: str) -> str:
    """A job id, run name or run id: 1–128 of letters, digits, `.`, `_`, `-`, not beginning with `.` or `-`."""
    if not _ID.fullmatch(text):
        raise InvalidRequest(
            f"{field} {shown(text)} can not be used: use 1 to 128 letters, digits, '.', '_' or '-', "
            "beginning with a letter, a digit or '_'",
            field=field,
        )
    return text


def check_capability(text: str, field: str = "requirement") -> str:
    """A capability such as GENERAL or GPU: 1–64 of letters, digits, `.`, `_`, `+`, `-`."""
    if not _CAPABILITY.fullmatch(text):
        raise InvalidRequest(
            f"{field} {shown(text)} is not a capability: use 1 to 64 letters, digits, '.', '_', '+' or '-'",
            field=field,
        )
    return text


@functools.lru_cache(1000)  # of a hundred thousand jobs, nearly all run the same file
def check_path(text: str, field: str) -> str:
    """A relative path with `/` between its parts that stays where it is put: no `..`, no control characters."""
    bad = (
        not text
        or _NOT_IN_PATHS.search(text)
        or len(text.encode()) > 1024
        or any(part in ("", ".", "..") or len(part.encode()) > 255 for part in text.split("/"))
    )
    if bad:
        raise InvalidRequest(
            f"{field} {shown(text)} is not a file name: use a relative path without '..', backslashes or control "
            "characters, at most 255 bytes a part",
            field=field,
        )
    return text


def check_webhook(url: str, field: str = "webhook") -> str:
    """Where somebody is told of something, by a POST: as `is_web_address`."""
    if not is_web_address(url):
        raise InvalidRequest(f"{field} {shown(url)} can not be called: use {WEB_ADDRESS}", field=field)
    return url


def is_web_address(url: str) -> bool:
    """Whether it is an http or https URL in ASCII that can be called as it stands: a host, a port if any, no user."""
    if not url.isascii() or len(url) > MAX_URL or _NOT_IN_URLS.search(url):
        return False
    try:
        parts = urlsplit(url)
        named = bool(parts.hostname) and "@" not in parts.netloc
        return parts.scheme in ("http", "https") and named and parts.port != 0
    except ValueError:  # a port that is none, a bracket that is not closed
        return False


def is_program(name: str) -> bool:
    """Whether a file of this name is executed itself, not given to an interpreter."""
    return not name.endswith((".py", ".sh", ".jar"))


def check_sha256(text: str) -> str:
    if not _SHA256.fullmatch(text):
        raise InvalidRequest(f"sha256 {shown(text)} is not a SHA-256 in 64 lower-case hex digits", field="sha256")
    return text


def check_range(value: float, low: float, high: float, field: str, called: str = "") -> None:
    """`low` ≤ value ≤ `high`; refuses NaN. `called`: what the sentence says instead of `field`."""
    if not low <= value <= high:
        raise InvalidRequest(
            f"{called or field} is {_figure(value)}; it must be from {_figure(low)} to {_figure(high)}", field=field
        )


def check_instances(count: int) -> None:
    """How many instances a service is to have."""
    if count == 0:
        raise InvalidRequest(
            f"instances is 0; it must be from 1 to {MAX_INSTANCES} (to have none, stop it)", field="instances"
        )
    check_range(count, 1, MAX_INSTANCES, "instances")


def check_job(job: JobSpec) -> None:
    """Everything about one job that can be judged without its neighbours."""
    try:
        check_id(job.job_id, "job id")
        check_task(job.task)
        check_capability(job.requirement)
        check_range(job.priority, -MAX_PRIORITY, MAX_PRIORITY, "priority")
        check_range(job.delay_s, 0, MAX_DELAY_S, "delay")
        check_range(job.retries, 0, MAX_RETRIES, "retries")
        check_range(job.retry_backoff_s, 0, 86400, "retry_backoff")
        check_range(job.max_attempts, 0, MAX_RETRIES, "max_attempts")
        for parent in job.parents:
            _check_parent(parent)
        if job.affinity not in AFFINITIES:
            raise InvalidRequest(f"affinity {shown(job.affinity)} is not one of {AFFINITIES}", field="affinity")
        if job.service:
            _check_service(job)
        else:
            _check_run(job)
    except InvalidRequest as error:
        raise InvalidRequest(f"job {shown(job.job_id)}: {error}", **{"job": job.job_id, **error.details}) from None


def check_task(task: Task) -> None:
    check_path(task.asset, "file")
    if task.sha256:
        check_sha256(task.sha256)
    if task.entry:
        check_path(task.entry, "entry")
    if task.port != AUTO_PORT:
        check_range(task.port, 0, 65535, "port")
    check_range(task.max_memory, 0, MAX_MEMORY, "max_memory")
    check_range(task.timeout_s, 0, MAX_DELAY_S, "timeout")
    check_range(task.stop_grace_s, 0, 3600, "stop_grace")
    _check_signal(task.stop_signal)
    _check_texts(task)


def check_health(task: Task) -> None:
    """Whether the health of a service can be checked so."""
    health = task.health
    if health.http and health.command:
        raise InvalidRequest("health is checked by http or by a command, not by both", field="health")
    if health.http and not task.port:
        raise InvalidRequest("health: http needs a port; give the service one, or 'port: auto'", field="health")
    if health.http and not _is_url_path(health.http):
        raise InvalidRequest(f"health: http {shown(health.http)} is not a path such as /health", field="health")
    if health.command and not health.command[0]:
        raise InvalidRequest("health: its command begins with no program", field="health")
    check_range(health.interval_s, 0.05, 86400, "health", "the interval of health")
    check_range(health.timeout_s, 0.01, 3600, "health", "the timeout of health")
    check_range(health.unhealthy_after, 1, 1000, "unhealthy_after")
    check_range(health.ready_timeout_s, 0, 86400, "ready_timeout")


def _check_service(job: JobSpec) -> None:
    if len(job.job_id) > MAX_SERVICE_ID:
        raise InvalidRequest(
            f"its id has {len(job.job_id)} characters; of a service {MAX_SERVICE_ID} are the most", field="job id"
        )
    check_health(job.task)
    if job.restart not in RESTARTS:
        raise InvalidRequest(f"restart {shown(job.restart)} is not one of {', '.join(RESTARTS)}", field="restart")
    if job.scope not in SCOPES:
        raise InvalidRequest(f"scope {shown(job.scope)} is not one of {', '.join(SCOPES)}", field="scope")
    check_range(job.min_uptime_s, 0, 86400, "min_uptime")
    check_instances(job.instances)


def _check_run(job: JobSpec) -> None:
    """What is for services only can not be asked of a job that ends."""
    values = _said_for_services(job)
    if values != _USUAL:
        told = zip(_FOR_SERVICES, values, _USUAL, strict=True)
        name = next(name for name, value, usual in told if value != usual)
        raise InvalidRequest(f"{name} is for services; add type: service", field=name)
    if job.task.port == AUTO_PORT:
        raise InvalidRequest("port: auto is for services; add type: service", field="port")


_FOR_SERVICES = {
    "restart": "restart",
    "min_uptime": "min_uptime_s",
    "instances": "instances",
    "scope": "scope",
    "max_memory": "task.max_memory",
    "unhealthy_after": "task.health.unhealthy_after",
    "ready_timeout": "task.health.ready_timeout_s",
    "health": "task.health",  # last, as others are part of it
}
"""Fields, and where a JobSpec has them."""
_said_for_services = operator.attrgetter(*_FOR_SERVICES.values())
_USUAL = _said_for_services(JobSpec("job", Task("file")))
"""What a job says of these fields that says nothing of them."""


def check_submission(request: SubmitRun) -> None:
    """A whole submission, up to the graph: names, counts, and each job."""
    check_id(request.run_id or request.name, "run id" if request.run_id else "name")
    if not request.run_id and len(request.name) > MAX_NAME:
        raise InvalidRequest(
            f"name {shown(request.name)} is {len(request.name)} characters long; {MAX_NAME} is the most",
            field="name",
        )
    check_range(len(request.request_id), 0, MAX_REQUEST_ID, "the length of request_id")
    if not request.jobs:
        raise InvalidRequest("the submission has no jobs", field="jobs")
    if len(request.jobs) > MAX_JOBS:
        raise InvalidRequest(f"{len(request.jobs)} jobs in one submission; {MAX_JOBS} is the most", field="jobs")
    instances = sum(job.instances if job.service else 1 for job in request.jobs)
    if instances > MAX_JOBS:
        raise InvalidRequest(f"{instances} instances in one submission; {MAX_JOBS} is the most", field="instances")
    for job in request.jobs:
        check_job(job)
    _check_variables(request)


def service_variable(job_id: str) -> str:
    """The variable by which the jobs of its run find a service: `TITAN_SERVICE_WEB_2` for `web-2`."""
    return "TITAN_SERVICE_" + _NOT_IN_VARIABLES.sub("_", job_id.upper())


def _check_variables(request: SubmitRun) -> None:
    """No two services of a submission may be found under the same name."""
    found: dict[str, str] = {}
    for job in request.jobs:
        if job.service:
            other = found.setdefault(service_variable(job.job_id), job.job_id)
            if other != job.job_id:
                raise InvalidRequest(
                    f"services {other!r} and {job.job_id!r} would both be {service_variable(job.job_id)}; rename one",
                    job=job.job_id,
                    field="job id",
                )


def _figure(value: float) -> str:
    return "out of reach" if abs(value) >= 1e15 else f"{value:.15g}"


def _is_url_path(text: str) -> bool:
    fits = text.startswith("/") and text.isascii() and len(text) <= MAX_URL_PATH
    return fits and not _NOT_IN_URLS.search(text)


@functools.lru_cache(1000)  # of a fan-out, all have the same
def _check_parent(parent: str) -> None:
    for part in parent.split("/", 1):
        check_id(part, "parent")


def _check_signal(number: int) -> None:
    if number not in _STOP_SIGNALS:
        raise InvalidRequest(f"stop_signal {number} is not a signal that can end a process", field="stop_signal")


def _check_texts(task: Task) -> None:
    texts = list(task.args)
    for name, value in task.env:
        if not _VARIABLE.fullmatch(name):
            raise InvalidRequest(f"env: {shown(name)} is not the name of a variable", field="env")
        if name.startswith("TITAN_"):
            raise InvalidRequest(f"env: {name} is set by Titan; choose another name", field="env")
        texts.append(f"{name}={value}")
    _check_plain(texts, "args and env", "args")
    _check_plain(task.health.command, "the command of health", "health")
    size = sum(len(text.encode()) + 1 for text in (*texts, *task.health.command))
    if size > MAX_ARGS_BYTES:
        raise InvalidRequest(
            f"args and env take {size} bytes; {MAX_ARGS_BYTES} is the most, pass a file", field="args"
        )


def _check_plain(texts: Iterable[str], called: str, field: str) -> None:
    for text in texts:
        if _NOT_IN_TEXTS.search(text):
            raise InvalidRequest(f"{called} can not hold {shown(text)}: a NUL, or no valid text", field=field)
