"""From a submission to its run: values checked, content found and pinned, then one event.

Everything that can be refused is refused here or by the core, before anything is queued.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from titan_core.clock import Clock
from titan_core.errors import AssetMissing, Conflict, InvalidRequest, TitanError, Unavailable
from titan_core.instants import stamp
from titan_core.master.engine import Engine
from titan_core.master.finder import Finder
from titan_core.protocol import messages
from titan_core.protocol.checks import check_job, check_submission
from titan_core.scheduler.attempts import TOKEN_BYTES
from titan_core.scheduler.dag import check as check_graph
from titan_core.scheduler.events import JobsAdded, RunSubmitted
from titan_core.scheduler.fires import BY_HAND
from titan_core.scheduler.model import JobSpec
from titan_core.store.archive import inspect
from titan_core.store.assets import AssetStore
from titan_core.store.history import History
from titan_core.store.specs import spec_of, task_of

_NAMED_MISSING = 1000
_RUN_IDS_TRIED = 100
_AssetKey = tuple[str, str, str]
"""(asset, sha256, entry): as a submission says, and with the SHA-256 of what that is now."""
_Archives = dict[str, dict[str, None]]
"""The files of an archive, in its order, by its SHA-256."""


class Submissions:
    """`check_room` raises Unavailable when what room there is has to be left to what runs."""

    def __init__(
        self, engine: Engine, assets: AssetStore, finder: Finder, history: History, check_room: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._assets = assets
        self._finder = finder
        self._history = history
        self._check_room = check_room

    def submit(self, request: messages.SubmitRun) -> messages.Submitted:
        """Start a run, or extend one. A request id that is known gets the answer it got before."""
        run_id = self._known(request)
        if run_id is None:
            check_submission(request)
            self._check_room()
            specs = self._specs(request)
            run_id = self._extend(request, specs) if request.run_id else self._begin(request, specs)
        return messages.Submitted(run_id, len(request.jobs))

    def definition(self, job: messages.JobSpec, contents: tuple[messages.AssetContent, ...]) -> JobSpec:
        """What a service is to run from now on. Raises what a submission of it would be refused with."""
        check_job(job)
        self._check_room()
        return self._specs(messages.SubmitRun(job.job_id, (job,), contents=contents))[0]

    def pinned(
        self, name: str, jobs: tuple[messages.JobSpec, ...], contents: tuple[messages.AssetContent, ...]
    ) -> tuple[messages.JobSpec, ...]:
        """The jobs of a schedule, each with the content that it has now. Raises what a run of them would be refused
        with, a graph that is none included."""
        self._check_room()
        specs = self._specs(messages.SubmitRun(name, jobs, contents=contents))
        check_graph(specs, lambda parent: None)
        return tuple(replace(job, task=spec.task) for job, spec in zip(jobs, specs, strict=True))

    def _extend(self, request: messages.SubmitRun, specs: tuple[JobSpec, ...]) -> str:
        self._engine.submit(JobsAdded(request.run_id, specs, request.request_id, request.spawner))
        return request.run_id

    def _begin(self, request: messages.SubmitRun, specs: tuple[JobSpec, ...]) -> str:
        """The run gets an id that no other has: runs of one name and one second differ in four digits only."""
        secret = secrets.token_bytes(TOKEN_BYTES)
        for _ in range(_RUN_IDS_TRIED):
            run_id = new_run_id(request.name, self._engine.clock)
            if self._history.has_run(
                run_id
            ):  # the clock may have been set back, and memory knows the latest runs only
                continue
            with contextlib.suppress(Conflict):
                self._engine.submit(
                    RunSubmitted(run_id, request.name, secret, specs, request.request_id, request.spawner)
                )
                # Should the same submission have been decided meanwhile, on another connection, that one counts.
                return self._in_memory(request) or run_id
        raise Unavailable(f"too many runs are called {request.name} in this second; try again in the next")

    def _known(self, request: messages.SubmitRun) -> str | None:
        """The run a request id stands for, also when that run is history by now."""
        if not request.request_id:
            return None
        return self._in_memory(request) or self._history.request(request.request_id)

    def _in_memory(self, request: messages.SubmitRun) -> str | None:
        return self._engine.read(lambda state: state.requests.get(request.request_id))

    # ── content ───────────────────────────────────────────────────────────────────────────────────

    def _specs(self, request: messages.SubmitRun) -> tuple[JobSpec, ...]:
        for content in request.contents:
            self._assets.put(content.sha256, content.data)
        self._check_held(request)
        pinned: dict[_AssetKey, _AssetKey] = {}
        archives: _Archives = {}
        self._recall_parents(request)
        names: dict[str, str] = {}
        return tuple(self._spec(job, pinned, archives, names) for job in request.jobs)

    def _recall_parents(self, request: messages.SubmitRun) -> None:
        """A parent may be a job of a run that is history."""
        named = {parent.partition("/")[0] for job in request.jobs for parent in job.parents if "/" in parent}
        if named:
            self._finder.recall(named)

    def _check_held(self, request: messages.SubmitRun) -> None:
        wanted = {job.task.sha256 for job in request.jobs if job.task.sha256}
        missing = sorted(sha256 for sha256 in wanted if not self._assets.has(sha256))
        if missing:
            raise AssetMissing(
                f"the master does not hold {len(missing)} of the files this submission names; send them along",
                missing=",".join(missing[:_NAMED_MISSING]),
            )

    def _spec(
        self,
        job: messages.JobSpec,
        pinned: dict[_AssetKey, _AssetKey],
        archives: _Archives,
        names: dict[str, str],
    ) -> JobSpec:
        """The scheduler's form of a job. `names` makes one string object of each name, many jobs having the same."""
        task, one = job.task, names.setdefault
        key = (task.asset, task.sha256, task.entry)
        source = pinned.get(key)
        if source is None:
            source = pinned[key] = (task.asset, self._pin(job, archives), task.entry)
        parents = tuple(one(parent, parent) for parent in job.parents)
        return spec_of(job, one(job.job_id, job.job_id), task_of(task, *source, task.args), parents)

    def _pin(self, job: messages.JobSpec, archives: _Archives) -> str:
        """The SHA-256 of what the job runs, as it is now. Refusals name the job."""
        try:
            sha256 = job.task.sha256 or self._assets.resolve(job.task.asset).sha256
            if job.task.entry:
                self._check_entry(job.task, sha256, archives)
            elif job.task.sha256:
                self._check_not_empty(job.task)
        except TitanError as error:
            raise type(error)(f"job {job.job_id!r}: {error}", **{"job": job.job_id, **error.details}) from None
        return sha256

    def _check_not_empty(self, task: messages.Task) -> None:
        file, size = self._assets.open(task.sha256)
        file.close()
        if not size:
            raise InvalidRequest(f"{task.asset} is empty; there is nothing to run", field="file")

    def _check_entry(self, task: messages.Task, sha256: str, archives: _Archives) -> None:
        """`archives` keeps what each holds: many jobs may run files of one, and looking into it takes a while."""
        if sha256 not in archives:
            file, _ = self._assets.open(sha256)
            with file:
                archives[sha256] = dict.fromkeys(inspect(Path(file.name), name=task.asset))
        entries = archives[sha256]
        if task.entry not in entries:
            some = ", ".join(itertools.islice(entries, 5)) or "nothing"
            raise InvalidRequest(f"{task.asset} has no file {task.entry!r}; it holds {some}", field="entry")


def new_run_id(name: str, clock: Clock) -> str:
    """`<name>-<utc yyyymmddThhmmss>-<4 hex>`; the digits leave out those of runs that schedules start."""
    return f"{name}-{stamp(clock.wall())}-{secrets.randbelow(BY_HAND):04x}"
