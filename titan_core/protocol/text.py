"""Text bodies: client requests in the pipe-delimited form of the Java system, read into native messages.

Fields are separated by `|`, job definitions by `;`; nothing is escaped. A definition is read from
both ends inwards, because the payload in its middle (`payloads`) holds bars of its own:

    ID | [SKILL |] PAYLOAD | PRIORITY | DELAY_MS | [parent,parent] [| AFFINITY or STICKY]

Everything here is pure, takes a `str`, and raises InvalidRequest with a sentence that says which
definition is at fault and why. The graph itself (duplicates, unknown parents, cycles) is judged by
the scheduler, as for native submissions.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import NamedTuple

from titan_core.errors import InvalidRequest
from titan_core.protocol.checks import MAX_NAME, check_id, check_job, check_path, check_range, shown
from titan_core.protocol.messages import (
    AssetContent,
    CancelJob,
    FetchAsset,
    GetJob,
    GetLogs,
    JobSpec,
    ShutdownWorker,
    StartWorker,
    StopService,
    Task,
    UploadAsset,
)
from titan_core.protocol.payloads import (
    READERS,
    WORKER_JAR,
    Payload,
    decoded,
    is_number,
    number,
    read_payload,
    read_worker,
)

ID_PREFIX = "DAG-"
"""What the Java system puts before job ids; with or without it, an id names the same job here."""
_AFFINITY = ("AFFINITY", "STICKY")


class Submission(NamedTuple):
    """Jobs, and the contents of those of their files that travelled with them."""

    jobs: tuple[JobSpec, ...]
    contents: tuple[AssetContent, ...] = ()


class Upload(NamedTuple):
    """A whole file for `perm_files/`."""

    announced: UploadAsset
    data: bytes


# ── submitting ────────────────────────────────────────────────────────────────────────────────────


def parse_dag(body: str) -> Submission:
    """SUBMIT_DAG: job definitions joined by `;`. Details of its errors: `definition` (its number), `job`."""
    definitions = [text.strip() for text in body.split(";")]
    read = [_definition(place, text) for place, text in enumerate(definitions, 1) if text]
    if not read:
        raise InvalidRequest("there is no job: write ID|SKILL|FILE|PRIORITY|DELAY_MS|[PARENTS], joined by ;")
    return _submission(*read)


def parse_job(body: str) -> Submission:
    """SUBMIT_JOB: `[ID|]payload[|priority][|delay ms]`. A single number at the end is the delay."""
    try:
        return _submission(_single_job(body.split("|")))
    except InvalidRequest as error:
        raise InvalidRequest(f"{shown(body.strip())}: {error}", **error.details) from None


def parse_run(body: str) -> Submission:
    """RUN: `file[|requirement]`, a file of `perm_files/`."""
    return _submission(_unnamed_job(read_payload(["RUN", *body.split("|")])))


def parse_deploy(body: str) -> Submission | StartWorker:
    """DEPLOY: `file[|port[|requirement]]`, a file of `perm_files/`; or one more worker, `Worker.jar`."""
    fields = body.split("|")
    if fields[0].strip() == WORKER_JAR:
        return read_worker(fields[1:])
    return _submission(_unnamed_job(read_payload(["DEPLOY", *fields])))


# ── asking, stopping, files ───────────────────────────────────────────────────────────────────────


def parse_stop(body: str) -> StopService:
    """STOP: a service id."""
    return StopService(_key(body))


def parse_get_logs(body: str) -> GetLogs:
    """GET_LOGS: a job id."""
    return GetLogs(_key(body))


def parse_get_job(body: str) -> GetJob:
    """GET_JOB_STATUS: a job id."""
    return GetJob(_key(body))


def parse_cancel(body: str) -> CancelJob:
    """CANCEL_JOB: a job id."""
    return CancelJob(_key(body))


def parse_kill_worker(body: str) -> ShutdownWorker:
    """KILL_WORKER: `host|port`."""
    host, _, port = body.rpartition("|")
    if not host.strip():
        raise InvalidRequest(f"{shown(body.strip())} is not a worker: write host|port", field="worker")
    found = number(port, "the port")
    check_range(found, 1, 65535, "port")
    return ShutdownWorker(f"{host.strip()}:{found}")


def parse_upload(body: str) -> Upload:
    """UPLOAD_ASSET, DEPLOY_SCRIPT: `file name|base64`."""
    name, bar, encoded = body.partition("|")
    if not bar:
        raise InvalidRequest(f"{shown(body)} is not an upload: write name|base64", field="name")
    data = decoded(encoded, name)
    announced = UploadAsset(check_path(name.strip(), "name"), hashlib.sha256(data).hexdigest(), len(data))
    return Upload(announced, data)


def parse_fetch(body: str) -> FetchAsset:
    """FETCH_ASSET: a file name."""
    return FetchAsset(name=check_path(body.strip(), "name"))


def plain_id(text: str) -> str:
    """A job id, or `<run id>/<job id>`, as it is known here: without the prefix of the Java system."""
    run_id, slash, job_id = text.strip().rpartition("/")
    return run_id + slash + job_id.removeprefix(ID_PREFIX)


def _key(body: str) -> str:
    key = plain_id(body)
    for part in key.split("/", 1):
        check_id(part, "id")
    return key


# ── one job ───────────────────────────────────────────────────────────────────────────────────────

_Job = tuple[JobSpec, bytes | None]
"""A job, and the content of its file if that came with it."""


def _definition(place: int, text: str) -> _Job:
    try:
        return _dag_job(text.split("|"))
    except InvalidRequest as error:
        details = {"definition": str(place), **error.details}
        raise InvalidRequest(f"definition {place}, {shown(text)}: {error}", **details) from None


def _dag_job(fields: list[str]) -> _Job:
    """From the right: affinity, parents, delay, priority. From the left: the id. The rest is the payload."""
    affinity = "prefer" if fields[-1].strip() in _AFFINITY else ""
    if affinity:
        fields.pop()
    if len(fields) < 5:
        raise InvalidRequest("it has too few fields; it is written ID|SKILL|FILE|PRIORITY|DELAY_MS|[PARENTS]")
    parents = _parents(fields.pop())
    delay_ms = number(fields.pop(), "the delay (ms)")
    priority = number(fields.pop(), "the priority")
    return _job(fields[0], read_payload(fields[1:]), parents, priority, delay_ms, affinity)


def _single_job(fields: list[str]) -> _Job:
    delay_ms = _peeled(fields, 0)
    priority = _peeled(fields, 1)
    if len(fields) == 1 or fields[0].strip() in READERS:
        return _unnamed_job(read_payload(fields), priority, delay_ms)
    return _job(fields[0], read_payload(fields[1:]), (), priority, delay_ms)


def _unnamed_job(payload: Payload, priority: int = 1, delay_ms: int = 0) -> _Job:
    """A job named after what it runs."""
    stem = PurePosixPath(payload.entry or payload.asset).stem
    job_id = re.sub(r"[^A-Za-z0-9_]+", "-", stem).strip("-")[:MAX_NAME]
    return _job(job_id or "job", payload, (), priority, delay_ms)


def _job(
    job_id: str, payload: Payload, parents: tuple[str, ...], priority: int, delay_ms: int, affinity: str = ""
) -> _Job:
    sha256 = "" if payload.content is None else hashlib.sha256(payload.content).hexdigest()
    job = JobSpec(
        plain_id(job_id),
        Task(payload.asset, sha256, payload.entry, payload.args, port=payload.port),
        parents,
        payload.requirement,
        priority,
        delay_ms / 1000,
        affinity,
        service=payload.service,
    )
    check_job(job)
    return job, payload.content


def _submission(*read: _Job) -> Submission:
    contents = {job.task.sha256: AssetContent(job.task.sha256, data) for job, data in read if data is not None}
    return Submission(tuple(job for job, _ in read), tuple(contents.values()))


def _parents(field: str) -> tuple[str, ...]:
    text = field.strip()
    if not (text.startswith("[") and text.endswith("]")):
        raise InvalidRequest(f"{shown(text)} is where the parents are: write [a,b], or [] for none", field="parents")
    inside = text[1:-1].strip()
    return tuple(plain_id(parent) for parent in inside.split(",")) if inside else ()


def _peeled(fields: list[str], default: int) -> int:
    """The last field, taken away, if it is a number that follows something."""
    return number(fields.pop(), "the last field") if len(fields) > 1 and is_number(fields[-1]) else default
