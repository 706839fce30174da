"""Pipelines that came as text from a browser: what they would run, and what is wrong with them, line by line.

The text is a stranger's as far as this machine is concerned: nothing it names is ever read here. The files of its
jobs are names in the master's perm_files/ and nothing else: each is checked before anything is looked at, and they
are relative to an empty folder. YAML that is too deep, or no YAML, is the SDK's to refuse. Threads of the server call
it.
"""

from __future__ import annotations

import contextlib
import difflib
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from titan_core.protocol.checks import check_path, shown
from titan_core.protocol.messages import SchedulePut
from titan_core.protocol.wire import MIB
from titan_sdk import TitanClient, TitanJob
from titan_sdk.contents import split_archive
from titan_sdk.errors import InvalidRequest, PipelineError, TitanError
from titan_sdk.handles import RunHandle
from titan_sdk.pipeline import Pipeline, load
from titan_sdk.pipeline_file import MAX_BYTES

SOURCE = "pipeline.yaml"
"""What a text is called: the name of its pipeline, if it gives it none, comes from it."""
MAX_READ = 2 * MIB
"""Bytes of a text that is read: beyond, what YAML takes of time and memory is too much for a page of many."""
MAX_SIGNS = 100_000
"""Line ends, commas and colons of a text that is read: each stands for a value, which takes some ten microseconds."""
MAX_COMPARED = 10_000
"""Names that are compared with one that is missing, for all that are missing: that takes half a second."""
_PROJECT = re.compile(r"^(['\"]?)project\1\s*:", re.MULTILINE)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    line: int
    """Counted from 1; 0 = the text as a whole."""
    sentence: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a text says. Without a pipeline it could not be read."""

    problems: tuple[Problem, ...]
    pipeline: Pipeline | None = None

    @property
    def usable(self) -> bool:
        return self.pipeline is not None and not self.problems


def read(raw: bytes, published: Iterable[str]) -> Draft:
    """`published`: the names of the files that the master has."""
    try:
        pipeline = _loaded(raw)
    except TitanError as error:
        return Draft((problem_of(error),))
    names = frozenset(published)
    found = [*_of_project(pipeline, raw), *_of_files(pipeline, names), *_of_graph(pipeline)]
    return Draft(tuple(sorted(set(found))), pipeline)


def submit(client: TitanClient, draft: Draft, update: bool) -> RunHandle | SchedulePut:
    """Start the run, or make the schedule, with `update` also change it. Raises what `TitanClient.apply` does."""
    if draft.pipeline is None or draft.problems:
        raise InvalidRequest(draft.problems[0].sentence)
    with tempfile.TemporaryDirectory(prefix="titan-") as empty:
        return client.apply(replace(draft.pipeline, folder=Path(empty)), update)


def problem_of(error: TitanError) -> Problem:
    if isinstance(error, PipelineError):
        return Problem(error.line, error.problem)
    return Problem(0, str(error))


# ── reading ───────────────────────────────────────────────────────────────────────────────────────


def _loaded(raw: bytes) -> Pipeline:
    """The SDK reads files only; of its sentences only the name of this one is left. Raises InvalidRequest."""
    if MAX_READ < len(raw) <= MAX_BYTES:
        raise InvalidRequest(f"{SOURCE} is larger than {MAX_READ // MIB} MiB; use `titan apply` for it")
    if len(raw) <= MAX_READ and sum(map(raw.count, (b"\n", b",", b":"))) > MAX_SIGNS:
        raise InvalidRequest(f"{SOURCE} has more than {MAX_SIGNS:,} lines and values; use `titan apply` for it")
    with tempfile.TemporaryDirectory(prefix="titan-") as directory:
        file = Path(directory) / SOURCE
        file.write_bytes(raw)
        with _named(file):
            return replace(load(file), source=SOURCE)


@contextlib.contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except PipelineError:
        raise
    except TitanError as error:
        raise InvalidRequest(str(error).replace(str(file), SOURCE)) from None


# ── judging ───────────────────────────────────────────────────────────────────────────────────────


def _of_project(pipeline: Pipeline, raw: bytes) -> Iterator[Problem]:
    if pipeline.project:
        text = raw.decode(errors="replace")
        found = _PROJECT.search(text)
        line = text.count("\n", 0, found.start()) + 1 if found else 0
        yield Problem(line, "project: true sends a folder, and here there is none; submit it with `titan apply`")


def _of_files(pipeline: Pipeline, published: frozenset[str]) -> Iterator[Problem]:
    hints = MAX_COMPARED // max(1, len(published))
    for job in pipeline.jobs:
        sentence = _file_trouble(job, published, hints > 0)
        if sentence:
            hints -= 1
            yield Problem(pipeline.line(job.job_id, "filename"), f"job {shown(job.job_id)}: {sentence}")
    for alert, job in _alert_jobs(pipeline):
        sentence = _file_trouble(job, published, hints > 0)
        if sentence:
            line = pipeline.line_at_fault({"alert": alert, "field": "filename"})
            yield Problem(line, f"{alert}: {sentence}")


def _alert_jobs(pipeline: Pipeline) -> Iterator[tuple[str, TitanJob]]:
    if pipeline.schedule is not None:
        for name in ("on_missed", "on_failure"):
            told = getattr(pipeline.schedule, name)
            if isinstance(told, TitanJob):
                yield name, told


def _file_trouble(job: TitanJob, published: frozenset[str], hint: bool) -> str:
    """Why its file can not be run, and with `hint` which one may be meant; empty: it can."""
    try:
        name = split_archive(job.filename)[0] if job.is_archive else job.filename
    except InvalidRequest as error:
        return str(error)
    try:
        check_path(name, "file")
    except InvalidRequest:
        return (
            f"file {shown(name)} can not be used here: name a file of the master's perm_files/, as it is called there"
        )
    if name in published:
        return ""
    close = difflib.get_close_matches(name, published, n=1) if hint else []
    return f"there is no {shown(name)} in the master's perm_files/" + (
        f"; did you mean {close[0]!r}?" if close else ""
    )


def _of_graph(pipeline: Pipeline) -> Iterator[Problem]:
    known = {job.job_id for job in pipeline.jobs}
    for job in pipeline.jobs:
        for parent in job.parents:
            if parent not in known and "/" not in parent:
                sentence = f"job {shown(job.job_id)} depends on {shown(parent)}, which is not in this pipeline"
                yield Problem(pipeline.line(job.job_id, "parents"), sentence)
    circle = cycle({job.job_id: [parent for parent in job.parents if parent in known] for job in pipeline.jobs})
    if circle:
        shown_of = circle if len(circle) <= 20 else [*circle[:20], "…"]
        sentence = f"these jobs wait for each other: {' -> '.join([*shown_of, circle[0]])}"
        yield Problem(pipeline.line(circle[0], "parents"), sentence)


def cycle(parents: dict[str, list[str]]) -> list[str]:
    """Jobs each of which depends on the next, and the last on the first; empty: there is no cycle."""
    left = {job: len(needed) for job, needed in parents.items()}
    children: dict[str, list[str]] = {}
    for job, needed in parents.items():
        for parent in needed:
            children.setdefault(parent, []).append(job)
    ready = [job for job, count in left.items() if not count]
    while ready:
        done = ready.pop()
        del left[done]
        for child in children.get(done, ()):
            left[child] -= 1
            if not left[child]:
                ready.append(child)
    return _around(parents, left)


def _around(parents: dict[str, list[str]], left: dict[str, int]) -> list[str]:
    """Each job that is left has a parent that is left: going from one to the next comes back."""
    path: list[str] = []
    places: dict[str, int] = {}
    job = next(iter(left), "")
    while job and job not in places:
        places[job] = len(path)
        path.append(job)
        job = next(parent for parent in parents[job] if parent in left)
    return path[places[job] :] if job else []
