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

A job's keys are the fields of TitanJob in all their spellings; a plain number is seconds, everywhere.
The graph is judged by the master; `located` gives its answer a line.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path, PurePosixPath

from titan_core.errors import RequestRefused
from titan_sdk.errors import PipelineError
from titan_sdk.fields import ALIASES
from titan_sdk.jobs import TitanJob
from titan_sdk.project import pack_project

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

    def line(self, job_id: str, field_name: str = "") -> int:
        """The line of a job, or of the field of it that is meant, where it has one; 0 = not known."""
        lines = self.lines.get(job_id)
        return 0 if lines is None else lines.fields.get(_MEANT.get(field_name, field_name), lines.job)


def load(path: str | PathLike[str]) -> Pipeline:
    """The pipeline in a YAML file; in a directory: `titan.yaml`, `pipeline.yaml` or the only one; `-`: on stdin.

    Reads no file but this one. Raises PipelineError with file and line, NotFound, InvalidRequest.
    """
    from titan_sdk.pipeline_file import read_pipeline  # YAML takes a moment to import, and most clients need none

    return read_pipeline(path)


@contextlib.contextmanager
def prepared(pipeline: Pipeline) -> Iterator[tuple[list[TitanJob], Path]]:
    """The jobs as they are submitted, and the folder that their files are relative to.

    A project is packed once; its jobs become entries of the archive. Raises NotFound, InvalidRequest.
    """
    if not pipeline.project:
        yield pipeline.jobs, pipeline.folder
        return
    with tempfile.TemporaryDirectory(prefix="titan-") as directory:
        archive = Path(directory) / f"{pipeline.name}.zip"
        pack_project(pipeline.folder, archive)
        yield [_entry_of(archive.name, job) for job in pipeline.jobs], archive.parent


@contextlib.contextmanager
def located(pipeline: Pipeline) -> Iterator[None]:
    """Turn a refusal that names a job into a PipelineError at its line."""
    try:
        yield
    except PipelineError:
        raise
    except RequestRefused as error:
        line = pipeline.line(error.details.get("job", ""), error.details.get("field", ""))
        if not line:
            raise
        raise PipelineError(error.message, pipeline.source, line, **error.details) from error


def _entry_of(archive: str, job: TitanJob) -> TitanJob:
    path = PurePosixPath(job.filename)  # takes the `./` away that people like to write
    return replace(job, filename=f"{archive}/{path}", is_archive=True)
