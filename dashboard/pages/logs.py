"""The log of an attempt: a page that follows it, a file, and the parts and events that the page is made of.

Parts are bytes as the job printed them; headers of the answer say where they lie in the log. See `static/log.js`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from flask import Response, request
from flask.typing import ResponseReturnValue
from werkzeug.exceptions import ServiceUnavailable

from dashboard import logs
from dashboard.api import answer, is_number, number
from dashboard.page import Page, render
from dashboard.parts import parts
from dashboard.present import file_name
from dashboard.rings import AttemptName
from titan_core.protocol.messages import JobStatus, LogChunk

page = Page("logs")

MOST_ATTEMPT, MOST_OFFSET = (1 << 32) - 1, (1 << 53) - 1
PART_BYTES = 1024 * 1024
"""At most so much is one part, give or take what the master gives at once."""


@page.get("/runs/<run_id>/jobs/<job_id>/log")
def one(run_id: str, job_id: str) -> ResponseReturnValue:
    """The last lines as they are now; with a script, all of it as it comes."""
    key = f"{run_id}/{job_id}"
    job = parts().client.job(key)
    attempt = _attempt() or _latest(job)
    lines = logs.tail(parts().client, key, attempt)
    known = next((known for known in job.attempts if known.number == attempt), None)
    return render("log.html", job=job, key=key, attempt=attempt, known=known, lines=lines, most=logs.TAIL_LINES)


@page.get("/runs/<run_id>/jobs/<job_id>/log.txt")
def download(run_id: str, job_id: str) -> ResponseReturnValue:
    """All that the master has of it, in pieces as the browser takes them."""
    chunks = parts().client.log_chunks(f"{run_id}/{job_id}", _attempt())
    first = next(chunks, None)
    name = f"{run_id}-{job_id}-{first.attempt if first else _attempt()}.log"
    response = Response(_data(first, chunks), content_type="text/plain; charset=utf-8")
    response.headers.set("Content-Disposition", "attachment", filename=file_name(name))
    return parts().streams.downloads.hold(response)


@page.get("/api/runs/<run_id>/jobs/<job_id>/log")
def part(run_id: str, job_id: str) -> ResponseReturnValue:
    """Bytes from `offset` on, or the last `tail` of them; `Log-Offset` says where they begin: later than asked for,
    where what lies between is not kept."""
    tail = number("tail", 0, MOST_OFFSET, least=0)
    offset = -tail if tail else number("offset", 0, MOST_OFFSET, least=0)
    limit = number("limit", PART_BYTES, PART_BYTES)
    found = logs.part(parts().client, f"{run_id}/{job_id}", _attempt(), offset, limit)
    response = Response(found.data, mimetype="application/octet-stream")
    response.headers["Log-Attempt"] = str(found.attempt)
    response.headers["Log-Offset"] = str(found.offset)
    response.headers["Log-End"] = str(int(found.end))
    response.headers["Log-Final"] = str(int(found.final))
    return response


@page.get("/api/runs/<run_id>/jobs/<job_id>/log/events")
def events(run_id: str, job_id: str) -> ResponseReturnValue:
    """The log from `offset` on as it is printed, as `logs.Follower` tells it."""
    if request.method == "HEAD":
        raise ServiceUnavailable("a stream has to be read")
    job = parts().client.job(f"{run_id}/{job_id}")
    name = AttemptName(job.run_id, job.job_id, _attempt())
    follower = logs.Follower(parts().rings, parts().client, name, _offset())
    return parts().streams.respond(follower.events(parts().cluster.stopping.is_set))


@page.get("/api/collector")
def collector() -> ResponseReturnValue:
    """What has come by datagrams."""
    return answer({"collector": asdict(parts().rings.figures())})


def _attempt() -> int:
    """0: the latest. Raises InvalidRequest."""
    return number("attempt", 0, MOST_ATTEMPT, least=0)


def _latest(job: JobStatus) -> int:
    return job.attempts[-1].number if job.attempts else 0


def _offset() -> int:
    """Where a stream goes on that has ended, or begins. Raises InvalidRequest."""
    gone = request.headers.get("Last-Event-ID", "")
    if is_number(gone):
        return min(int(gone), MOST_OFFSET)
    return number("offset", 0, MOST_OFFSET, least=0)


def _data(first: LogChunk | None, rest: Iterator[LogChunk]) -> Iterator[bytes]:
    if first is not None:
        yield first.data
    for chunk in rest:
        yield chunk.data
