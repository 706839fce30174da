"""Named places in the master and the worker at which a test makes the process die, as `kill -9` would.

    TITAN_FAILPOINT=store.before_commit     die when that place is reached
    TITAN_FAILPOINT=master.before_ack:3     die when it is reached for the third time
    TITAN_FAILPOINT=store.loading@/tmp/now  die when it is reached while there is such a file

What is promised about crashes is promised for every moment; these are the moments between two steps that
belong together, where a promise would break first. `POINTS` names them all and says what has happened, and
what has not, when each is reached. The code calls `reach` there, and without the variable that does nothing.

Called by any thread. The main thread calls `arm` once, before anything is started.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from pathlib import Path

from titan_core.errors import ConfigError

VARIABLE = "TITAN_FAILPOINT"

POINTS = {
    "store.before_commit": "records are in the open transaction, nothing of them is on disk",
    "store.after_commit": "records are on disk, nobody was told yet",
    "store.loading": "the home is locked and its database open, the stored state is not read yet",
    "master.recovered": "the stored state is in memory, the master does not listen yet",
    "master.before_send": "the intent of an attempt is on disk, its order was not sent",
    "master.after_send": "the order was sent, nothing came back yet",
    "master.before_reply": "what a client asked for is on disk, the client was not answered",
    "master.before_ack": "a result is on disk, its worker was not told",
    "worker.before_register": "connected to the master, which was not told who we are",
    "worker.after_start": "the process of an attempt runs, its start was not reported",
    "worker.before_journal": "the process of an attempt has ended, its result is written nowhere",
    "worker.before_result_sent": "the result is in the journal, the master was not told",
    "worker.after_result_sent": "the master has acknowledged the result, which is still in the journal",
}


class _Trap:
    """Ends the process at the `countdown`th time that `name` is reached while the file `gate`, if any, exists."""

    def __init__(self, name: str, countdown: int, gate: Path | None) -> None:
        self._name = name
        self._countdown = countdown
        self._gate = gate
        self._lock = threading.Lock()

    def spring(self, name: str) -> None:
        if name != self._name or (self._gate is not None and not self._gate.exists()):
            return
        with self._lock:
            self._countdown -= 1
            if self._countdown == 0:
                os.kill(os.getpid(), signal.SIGKILL)


_trap: _Trap | None = None


def reach(name: str) -> None:
    """The process is at the point `name` of `POINTS`."""
    if _trap is not None:
        _trap.spring(name)


def arm(environ: Mapping[str, str]) -> None:
    """Have the process die where TITAN_FAILPOINT says, if it says so. Raises ConfigError for what is no point."""
    global _trap
    text = environ.get(VARIABLE, "")
    _trap = _parse(text) if text else None


def _parse(text: str) -> _Trap:
    place, _, gate = text.partition("@")
    name, _, times = place.partition(":")
    if name not in POINTS:
        raise ConfigError(f"{VARIABLE} is {text!r}: there is no such point; there are {', '.join(POINTS)}")
    if times and not (times.isdecimal() and int(times)):
        raise ConfigError(f"{VARIABLE} is {text!r}: after the colon must be a number from 1 up")
    return _Trap(name, int(times or 1), Path(gate) if gate else None)
