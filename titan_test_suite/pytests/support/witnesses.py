"""Jobs that are witnesses: each tells a ledger when it starts and when it ends by itself, and waits for the test.

The ledger is that of `titan_test_suite.torture.ledger`: one file a worker, one line an event, no word of Titan's own.
A gate is a file: a job that was given one ends only once it is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from titan_sdk import TitanJob
from titan_test_suite.torture.ledger import Ledger, Line

NOTE = """\
note() {
    echo "$1 $TITAN_RUN_ID $TITAN_JOB_ID $TITAN_ATTEMPT $TITAN_ATTEMPT_TOKEN ${EPOCHREALTIME/,/.} $$ ${2:-0}" \\
        >> "$WITNESSED/$TITAN_WORKER"
}
"""
PATIENCE = """\
exec {never}<> <(:)  # a pipe into which nobody writes: sleeping without a process
until_gate() { until test -z "$GATE" || test -e "$GATE"; do read -rt 0.05 -u $never; done; }
"""
NOTE_PYTHON = """\
import os as _os, time as _time
_names = ("RUN_ID", "JOB_ID", "ATTEMPT", "ATTEMPT_TOKEN")
_facts = " ".join(_os.environ[f"TITAN_{name}"] for name in _names)
with open(_os.environ["WITNESSED"] + "/" + _os.environ["TITAN_WORKER"], "a") as _ledger:
    _ledger.write(f"start {_facts} {_time.time()} {_os.getpid()} 0\\n")
"""

ENDS = "note start; until_gate; code=$(( TITAN_ATTEMPT <= ${1:-0} ? 3 : 0 )); note end $code; exit $code"
"""The first so many attempts, its argument, fail."""
SERVES = "note start; exec sleep 1000"


class Witnesses:
    """The jobs, scripts and ledger of one test, below `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "witnesses"
        self._books = self._directory / "ledger"
        self._books.mkdir(parents=True)

    def job(self, job_id: str, text: str = ENDS, gate: str = "", failures: int = 0, **fields: object) -> TitanJob:
        """A job of bash that runs `text`, in which there are `note` and `until_gate`; it waits for `gate`, if any."""
        path = self._directory / f"{job_id}.sh"
        path.write_text(NOTE + PATIENCE + text + "\n")
        env = {"WITNESSED": str(self._books), "GATE": str(self._gate(gate)) if gate else ""}
        return TitanJob(job_id, str(path), args=[str(failures)], env=env, **fields)

    def watch(self, job: TitanJob, folder: Path) -> TitanJob:
        """The job of a pipeline in `folder`, a copy that may be changed: now it tells the ledger that it starts."""
        path = folder / job.filename
        text = path.read_text()
        if "WITNESSED" not in text:
            note = NOTE_PYTHON if path.suffix == ".py" else NOTE + "note start\n"
            path.write_text(re.sub(r"\A(#!.*\n)?", lambda found: found.group() + note, text, count=1))
        return replace(job, env={**job.env, "WITNESSED": str(self._books)})

    def open(self, gate: str) -> None:
        """Let those go on that wait for it."""
        self._gate(gate).touch()

    @property
    def ledger(self) -> Ledger:
        return Ledger.read(self._books)

    def started(self, *keys: str, times: int = 1) -> Callable[[], bool]:
        """Whether these jobs have all been started so often, as a predicate to wait for."""
        return lambda: all(len(self.ledger.starts[key]) >= times for key in keys)

    def starts(self, key: str) -> list[Line]:
        return self.ledger.starts[key]

    def ends(self, key: str) -> list[Line]:
        return self.ledger.ends[key]

    def _gate(self, name: str) -> Path:
        return self._directory / f"gate-{name}"
