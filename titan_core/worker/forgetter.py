"""Deletes what runs have left on this worker, when the master says that nobody will ask for them again.

A thread of its own, since a run may have left a million files. Run ids come over the wire and become paths: what is
no run id is not touched. A run of which something still runs here is deleted when that is over.
`forget` is called by the link's reader.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from titan_core.errors import InvalidRequest
from titan_core.lifecycle import Component
from titan_core.protocol.checks import check_id
from titan_core.worker.workspace import Workspace

log = logging.getLogger("titan.worker")

AGAIN_S = 1.0
"""How long after a run was found in use it is looked at again."""


class Forgetter(Component):
    """`in_use()` says of which runs there are attempts."""

    def __init__(self, workspace: Workspace, in_use: Callable[[], set[str]]) -> None:
        super().__init__("forgetter")
        self._workspace = workspace
        self._in_use = in_use
        self._changed = threading.Condition()
        self._asked: dict[str, None] = {}
        """Run ids, in the order in which they came."""

    def start(self) -> None:
        self.spawn("forgetter", self._run)

    def on_stop(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def forget(self, run_ids: tuple[str, ...]) -> None:
        """Delete what these runs have left; returns at once."""
        with self._changed:
            self._asked.update(dict.fromkeys(filter(_is_run_id, run_ids)))
            self._changed.notify_all()

    def _run(self) -> None:
        while not self.stopping.is_set():
            for run_id in self._take():
                if self.stopping.is_set():
                    return
                self._workspace.forget(run_id)

    def _take(self) -> list[str]:
        """Runs that are not in use, as soon as there may be some."""
        with self._changed:
            while not self._asked and not self.stopping.is_set():
                self._changed.wait()
            in_use = self._in_use()
            free = [run_id for run_id in self._asked if run_id not in in_use]
            for run_id in free:
                del self._asked[run_id]
            if not free and not self.stopping.is_set():
                self._changed.wait(AGAIN_S)
            return free


def _is_run_id(text: str) -> bool:
    try:
        check_id(text, "run id")
    except InvalidRequest as error:
        log.warning("not deleted: %s", error, extra={"action": "runs.not_forgotten"})
        return False
    return True
