"""Reading a pipeline file: finding it, and turning its nodes into a Pipeline.

Text is taken as it is written (`id: 007`, `args: [yes, 1e3]`); everything else as YAML means it.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from titan_core.errors import InvalidRequest, NotFound
from titan_core.protocol.checks import MAX_NAME, check_id, shown
from titan_core.protocol.wire import MIB
from titan_sdk.errors import PipelineError
from titan_sdk.fields import AUTO, FOR_SERVICES, HEALTH, READERS, field_name
from titan_sdk.jobs import TitanJob, check_values
from titan_sdk.local_files import find_file, opened
from titan_sdk.pipeline import JobLines, Pipeline
from titan_sdk.schedule_fields import ALERT_KEYS, ALERTS, FIELDS, WHEN, Schedule, check_said, schedule_of
from titan_sdk.yaml_file import Items, YamlFile, describe, is_null, line_of

MAX_BYTES = 16 * MIB
"""Of a pipeline file."""
STDIN = "-"
_TOP_KEYS = ("name", "schedule", "project", "defaults", "jobs")
_USUAL_NAMES = ("titan.yaml", "titan.yml", "pipeline.yaml", "pipeline.yml")
_AS_WRITTEN = frozenset(
    {"job_id", "filename", "requirement", "type", "parents", "args", "env", "restart", "scope", "http", "command"}
)
"""Fields that are text: `args: [yes]` is the word, not a boolean."""
_TEXTS_OF_SCHEDULES = frozenset({"cron", "at", "timezone", "start", "end", "overlap", "catch_up", *ALERTS})
"""The same of a schedule: `at: 2026-12-24` is the text, not a date."""

Fields = dict[str, tuple[ScalarNode, Node]]
"""Like Items, by the name of the field."""


def read_pipeline(path: str | os.PathLike[str]) -> Pipeline:
    """See `titan_sdk.pipeline.load`."""
    if os.fspath(path) == STDIN:
        raw = sys.stdin.buffer.read(MAX_BYTES + 1)
        return _Reader(YamlFile("<stdin>", _checked_size("<stdin>", raw)), Path.cwd(), "pipeline").pipeline()
    file = find_pipeline_file(Path(path))
    with opened(file) as stream:
        raw = _checked_size(str(file), stream.read(MAX_BYTES + 1))
    return _Reader(YamlFile(str(file), raw), file.parent, file.stem).pipeline()


def find_pipeline_file(path: Path) -> Path:
    """`path`, or the pipeline in it when it is a directory. Raises NotFound, InvalidRequest."""
    if not path.is_dir():
        file = find_file(path)
        if file is None:
            raise NotFound(f"there is no pipeline {shown(str(path))}")
        return file
    found = sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml") and file.is_file())
    usual = [path / name for name in _USUAL_NAMES if path / name in found]
    if not found:
        raise NotFound(
            f"there is no pipeline in {path}: it needs a titan.yaml, a pipeline.yaml, or any one .yaml file"
        )
    if not usual and len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise InvalidRequest(f"{path} holds several pipelines, {names}: say which, or name one of them titan.yaml")
    return usual[0] if usual else found[0]


class _Reader:
    """Turns one file into a Pipeline."""

    def __init__(self, file: YamlFile, folder: Path, default_name: str) -> None:
        self._file = file
        self._folder = folder
        self._default_name = default_name

    def pipeline(self) -> Pipeline:
        top = self._file.items(self._file.root, "a pipeline")
        self._check_top(top)
        project = self._project(top)
        defaults = self._defaults(top)
        jobs, lines = self._jobs(top["jobs"][1], defaults, project)
        name = self._name(top)
        schedule, schedule_lines = self._schedule(top, name, project)
        return Pipeline(name, jobs, self._file.name, self._folder, project, lines, schedule, schedule_lines)

    # ── the top level ─────────────────────────────────────────────────────────────────────────────

    def _check_top(self, top: Items) -> None:
        for key, (node, _) in top.items():
            self._field(key, node, _TOP_KEYS)
        if "jobs" not in top:
            raise self._file.error("there is no 'jobs:' in this pipeline", self._file.root)

    def _name(self, top: Items) -> str:
        node = top["name"][1] if "name" in top else None
        name = self._default_name if node is None else self._value("name", node, as_written=True)
        try:
            if not isinstance(name, str):
                raise InvalidRequest(f"name must be a string, not {describe(node) if node else 'nothing'}")
            if len(check_id(name, "name")) > MAX_NAME:
                raise InvalidRequest(f"name {shown(name)} is {len(name)} characters long; {MAX_NAME} is the most")
        except InvalidRequest as error:
            hint = "" if node else ", with 'name:' in this file, which is called otherwise"
            raise self._file.error(error.message + hint, node or self._file.root, field="name") from None
        return name

    def _project(self, top: Items) -> bool:
        if "project" not in top or is_null(top["project"][1]):
            return False
        node = top["project"][1]
        project = self._value("project", node)
        if not isinstance(project, bool):
            raise self._file.error(f"project must be true or false, not {describe(node)}", node)
        if project and self._file.name == "<stdin>":
            raise self._file.error("project: true needs a file in a folder; stdin has none", node)
        return project

    def _defaults(self, top: Items) -> Fields:
        if "defaults" not in top or is_null(top["defaults"][1]):
            return {}
        return self._fields(top["defaults"][1], "defaults", tuple(name for name in READERS if name != "job_id"))

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────

    def _jobs(self, node: Node, defaults: Fields, project: bool) -> tuple[list[TitanJob], dict[str, JobLines]]:
        jobs: list[TitanJob] = []
        lines: dict[str, JobLines] = {}
        for item in self._file.list(node, "jobs"):
            own = self._fields(item, "a job", tuple(READERS))
            fitting = self._fitting(defaults, own)
            if "job_id" not in fitting or is_null(fitting["job_id"][1]):
                raise self._file.error("this job has no id; give it one with 'id:'", item, field="job_id")
            job = self._job(fitting, item, project)
            self._check_new(job, lines, own, item)
            jobs.append(job)
            fields = {name: line_of(key) for name, (key, _) in {**defaults, **own}.items()}
            lines[job.job_id] = JobLines(line_of(item), fields)
        if not jobs:
            raise self._file.error("'jobs:' is an empty list; there is nothing to run", node)
        return jobs, lines

    def _fitting(self, defaults: Fields, own: Fields) -> Fields:
        """A job's own fields over the defaults. Those for services only are refused in a job that is none; as
        defaults they just do not hold for it."""
        fields = {**defaults, **own}
        kind = fields["type"][1] if "type" in fields else None
        if kind is not None and not is_null(kind) and kind.value != "run":
            return fields
        for name, (key, value) in own.items():
            if _is_for_services(name, value):
                raise self._file.error(f"{_called(name)} is for services; add type: service", key, field=name)
        return {name: item for name, item in fields.items() if name in own or not _is_for_services(name, item[1])}

    def _check_new(self, job: TitanJob, lines: dict[str, JobLines], own: Fields, item: Node) -> None:
        first = lines.get(job.job_id)
        if first is not None:
            line = first.fields.get("job_id", first.job)
            raise self._file.error(
                f"the job id {shown(job.job_id)} is there twice, first in line {line}",
                own["job_id"][0] if "job_id" in own else item,
                job=job.job_id,
                field="job_id",
            )

    def _job(self, fields: Fields, item: Node, project: bool) -> TitanJob:
        values = {name: self._job_value(name, node) for name, (_, node) in fields.items()}
        try:
            job = TitanJob(**values)
            check_values(job)
        except InvalidRequest as error:
            name = _field_at_fault(error, fields)
            raise self._file.error(error.message, fields[name][0] if name else item, **error.details) from None
        if project and job.is_archive:
            raise self._file.error("in a project every file is an entry already: leave is_archive out", item)
        return job

    def _job_value(self, name: str, node: Node) -> Any:
        if name == "health" and isinstance(node, MappingNode):
            keys = self._fields(node, "health", tuple(HEALTH))
            return {key: self._value(key, value, key in _AS_WRITTEN) for key, (_, value) in keys.items()}
        value = self._value(name, node, as_written=name in _AS_WRITTEN)
        if name == "delay" and isinstance(value, int | float) and not isinstance(value, bool):
            return value * 1000  # seconds here, milliseconds in a TitanJob
        return value

    # ── the schedule ──────────────────────────────────────────────────────────────────────────────

    def _schedule(self, top: Items, name: str, project: bool) -> tuple[Schedule | None, dict[str, int]]:
        """When the jobs are run, if it is said, and where each field of it is written."""
        if "schedule" in top and is_null(top["schedule"][1]):
            raise self._file.error("schedule says nothing; say when, or leave it out", top["schedule"][0])
        if "schedule" not in top:
            return None, {}
        key, node = top["schedule"]
        short = isinstance(node, ScalarNode)
        fields = {"cron": (key, node)} if short else self._fields(node, "a schedule", FIELDS)
        nodes = {"schedule": key, "name": top.get("name", (key, node))[0]}
        nodes.update((field, key) for field, (key, _) in fields.items())
        values = {field: self._schedule_value(field, value, nodes, project) for field, (_, value) in fields.items()}
        try:
            schedule = schedule_of(values)
            check_said(name, schedule)
        except InvalidRequest as error:
            raise self._schedule_error(error, nodes) from None
        return schedule, {field: line_of(node) for field, node in nodes.items()}

    def _schedule_value(self, name: str, node: Node, nodes: dict[str, ScalarNode], project: bool) -> Any:
        if name not in ALERTS or not isinstance(node, MappingNode):
            return self._value(name, node, as_written=name in _TEXTS_OF_SCHEDULES)
        keys = self._fields(node, name, ALERT_KEYS)
        nodes.update((f"{name}.{key}", key_node) for key, (key_node, _) in keys.items())
        told = {key: self._value(key, value, as_written=True) for key, (_, value) in keys.items() if key != "job"}
        if "job" in keys and not is_null(keys["job"][1]):
            own = self._fields(keys["job"][1], "a job", tuple(READERS))
            nodes.update((f"{name}.{field}", key_node) for field, (key_node, _) in own.items())
            told["job"] = self._job(self._fitting({}, own), keys["job"][1], project)
        return told

    def _schedule_error(self, error: InvalidRequest, nodes: dict[str, ScalarNode]) -> PipelineError:
        alert, field = error.details.get("alert", ""), error.details.get("field", "")
        places = (f"{alert}.{field}", alert, field, *WHEN, "schedule")  # what `seconds` lacks, cron has too much
        node = next(nodes[place] for place in places if place in nodes)
        return self._file.error(error.message, node, **error.details)

    # ── nodes ─────────────────────────────────────────────────────────────────────────────────────

    def _fields(self, node: Node, what: str, known: tuple[str, ...]) -> Fields:
        fields: Fields = {}
        for key, (key_node, value) in self._file.items(node, what).items():
            name = self._field(key, key_node, known)
            if name in fields:
                raise self._file.error(f"{key} and {fields[name][0].value} are two names of one thing", key_node)
            fields[name] = key_node, value
        return fields

    def _field(self, key: str, node: Node, known: tuple[str, ...]) -> str:
        try:
            return field_name(key, known)
        except InvalidRequest as error:
            raise self._file.error(error.message, node, field=key) from None

    def _value(self, name: str, node: Node, as_written: bool = False) -> Any:
        """A node as plain Python: lists, dicts, and scalars as YAML means them, or as they are written."""
        if isinstance(node, SequenceNode):
            return [self._value(name, item, as_written) for item in node.value]
        if isinstance(node, MappingNode):
            items = self._file.items(node, name)
            return {key: self._value(name, value, as_written) for key, (_, value) in items.items()}
        if as_written and not is_null(node):
            return node.value
        return self._file.scalar(node)


def _is_for_services(name: str, value: Node) -> bool:
    return (name in FOR_SERVICES and not is_null(value)) or (name == "port" and value.value == AUTO)


def _called(name: str) -> str:
    return "port: auto" if name == "port" else name


def _field_at_fault(error: InvalidRequest, fields: Fields) -> str:
    """The field that the error is about, if the job has it."""
    try:
        name = field_name(error.details.get("field", ""), READERS)
    except InvalidRequest:
        return "job_id" if error.details.get("field") == "job id" else ""
    return name if name in fields else ""


def _checked_size(name: str, raw: bytes) -> bytes:
    if len(raw) > MAX_BYTES:
        raise InvalidRequest(f"{name} is larger than {MAX_BYTES // MIB} MiB, which no pipeline is")
    return raw
