"""Pipelines: a YAML file becomes TitanJobs, and whatever is wrong is said with file and line.

    name: nightly                      # default: the name of the file
    project: false                     # true: the whole folder is sent as one archive
    defaults: {retries: 1}             # for every job that does not say otherwise
    jobs:
      - id: extract
        file: extract.py               # relative to this file; else a name in the master's perm_files/
        args: --day today
      - id: load
        file: load.py
        depends_on: [extract]
        delay: 5s

With `schedule:` the jobs are run whenever their time has come. A job's keys are the fields of TitanJob in all
their spellings; a plain number is seconds, everywhere.
The graph is judged by the master; `located` gives its answer a line.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path, PurePosixPath

from titan_core.errors import RequestRefused
from titan_sdk.errors import PipelineError
from titan_sdk.fields import ALIASES
from titan_sdk.jobs import TitanJob
from titan_sdk.project import pack_project
from titan_sdk.schedule_fields import Schedule, Told, schedule_of

_MEANT = {**ALIASES, "job id": "job_id", "entry": "filename", "asset": "filename"}
"""What checks, here and in the master, call a field."""


@dataclass(frozen=True, slots=True)
class JobLines:
    """Where a job is written: the line of the job, and of each of its fields; counted from 1."""

    job: int
    fields: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pipeline:
    name: str
    jobs: list[TitanJob]
    source: str
    """What errors call the file."""
    folder: Path
    """What its files are relative to."""
    project: bool = False
    """Send the whole folder; every job's file is a path in it."""
    lines: dict[str, JobLines] = field(default_factory=dict, repr=False)
    """By job id."""
    schedule: Schedule | None = None
    """When its jobs are run; None: at once."""
    schedule_lines: dict[str, int] = field(default_factory=dict, repr=False)
    """By field; `on_failure.filename` is a field of the job that is run then."""

    def line(self, job_id: str, field_name: str = "") -> int:
        """The line of a job, or of the field of it that is meant, where it has one; 0 = not known."""
        lines = self.lines.get(job_id)
        return 0 if lines is None else lines.fields.get(_MEANT.get(field_name, field_name), lines.job)

    def line_at_fault(self, details: Mapping[str, str]) -> int:
        """The line that the details of an error are about; 0 = not known."""
        name, alert = details.get("field", ""), details.get("alert", "")
        if alert:
            lines = self.schedule_lines
            return lines.get(f"{alert}.{_MEANT.get(name, name)}", lines.get(alert, 0))
        return self.line(details["job"], name) if "job" in details else self.schedule_lines.get(name, 0)


def load(path: str | PathLike[str]) -> Pipeline:
    """The pipeline in a YAML file; in a directory: `titan.yaml`, `pipeline.yaml` or the only one; `-`: on stdin.

    Reads no file but this one. Raises PipelineError with file and line, NotFound, InvalidRequest.
    """
    from titan_sdk.pipeline_file import read_pipeline  # YAML takes a moment to import, and most clients need none

    return read_pipeline(path)


def rescheduled(pipeline: Pipeline, fields: Mapping[str, object]) -> Pipeline:
    """The pipeline with a schedule, for which `fields` go before what the file says. Raises InvalidRequest."""
    schedule = schedule_of(fields, pipeline.schedule)
    said = {name: line for name, line in pipeline.schedule_lines.items() if name.partition(".")[0] not in fields}
    return replace(pipeline, schedule=schedule, schedule_lines=said)


@contextlib.contextmanager
def prepared(pipeline: Pipeline) -> Iterator[Pipeline]:
    """The pipeline as it is submitted, its files relative to its folder.

    A project is packed once; its jobs become entries of the archive. Raises NotFound, InvalidRequest.
    """
    if not pipeline.project:
        yield pipeline
        return
    with tempfile.TemporaryDirectory(prefix="titan-") as directory:
        archive = Path(directory) / f"{pipeline.name}.zip"
        pack_project(pipeline.folder, archive)
        yield _archived(pipeline, archive)


@contextlib.contextmanager
def located(pipeline: Pipeline) -> Iterator[None]:
    """Turn a refusal that names a job, or a field of the schedule, into a PipelineError at its line."""
    try:
        yield
    except PipelineError:
        raise
    except RequestRefused as error:
        line = pipeline.line_at_fault(error.details)
        if not line:
            raise
        raise PipelineError(error.message, pipeline.source, line, **error.details) from error


def _archived(pipeline: Pipeline, archive: Path) -> Pipeline:
    jobs = [_entry_of(archive.name, job) for job in pipeline.jobs]
    schedule = pipeline.schedule and replace(
        pipeline.schedule,
        on_missed=_told(archive.name, pipeline.schedule.on_missed),
        on_failure=_told(archive.name, pipeline.schedule.on_failure),
    )
    return replace(pipeline, jobs=jobs, folder=archive.parent, schedule=schedule)


def _told(archive: str, told: Told) -> Told:
    """A job of the project; one whose file is named by an absolute path is none of it."""
    return told if isinstance(told, str) or told.filename.startswith("/") else _entry_of(archive, told)


def _entry_of(archive: str, job: TitanJob) -> TitanJob:
    path = PurePosixPath(job.filename)  # takes the `./` away that people like to write
    return replace(job, filename=f"{archive}/{path}", is_archive=True)
