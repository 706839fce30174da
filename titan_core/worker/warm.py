"""Warm starts: a small Python job begins in a process that has started already. The worker's side of `warm_server`.

The thread `warm` keeps one fork server running: it starts it, and replaces it when it has ended, after so many
jobs, and when something was installed since. The kernel lists what the server forks as children of the thread that
started the server; as orphans go to the main thread, they are never taken for one.

Whatever can not be started warm is started cold, and nobody notices but by the time it takes: another program than
the worker's Python, variables that a Python reads only as it starts, a server that is not there or does not answer.
If that has made the process before it ended, but could not say so, the process is found among the thread's children.

`start_process` is called by the slots' threads, and holds the lock for as long as a fork takes. Knows no jobs.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from titan_core.lifecycle import Component
from titan_core.worker import procfs, sigkill
from titan_core.worker.cgroup import SlotCgroup
from titan_core.worker.process import FORK_GATE, Launch, Leader, start_process
from titan_core.worker.warm_fit import Fit, Request
from titan_core.worker.warm_wire import IMPOSSIBLE, NO_PROCESS, ROOM_BYTES

log = logging.getLogger("titan.worker")

MOST_JOBS = 10_000
"""A server that was asked for so many is replaced."""
ANSWER_S = 5.0
"""A server that takes longer for an answer is ended."""
LOOK_S = 1.0
"""So often a server that is asked for processes is looked at."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 30.0
"""Before the next server, when one has ended by itself: twice as long each time, until one lasts."""
_LASTING_S = 10.0
_PROGRAM = str(Path(__file__).with_name("warm_main.py"))
_LAST_BYTES = 2_000
_TRIAL = (sys.executable, "-u", str(Path(__file__).with_name("warm_trial.py")))
_TIMEVAL = struct.Struct("ll")
"""Seconds, and microseconds."""
_LINKS_OF_ONE = 3
"""Of the directory of a process's threads, where it has one."""
_TRIAL_ENDINGS = (0, 7)
"""As which the script ends that is tried: of its own accord, and by `sys.exit`."""


class WarmProcess:
    """A child of this process that another one has made."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        """Set by whoever reaps it."""

    def wait(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Warm(Component):
    """`environment`: what all jobs have in common. Before `start`, and where the machine can not do it, every start
    is a cold one."""

    def __init__(self, environment: Mapping[str, str], most_jobs: int = MOST_JOBS) -> None:
        super().__init__("warm")
        self._environment = dict(environment)
        self._most_jobs = most_jobs
        self._lock = threading.Lock()
        self._thread = 0
        self._newest: _Server | None = None
        self._asked: _Server | None = None
        """The one that answers; None = there is none at the moment."""
        self._children: list[WarmProcess] = []

    def start(self) -> None:
        self.spawn("warm", self._run)

    def on_stop(self) -> None:
        newest = self._newest
        if newest is not None:
            newest.end()

    @property
    def server_pid(self) -> int:
        """Of the server that answers; 0 = there is none at the moment."""
        asked = self._asked
        return asked.process.pid if asked is not None else 0

    def start_process(self, launch: Launch, cgroup: SlotCgroup | None = None) -> Leader:
        """Start it, warm if that can be. `cgroup`: that of the calling thread. Raises OSError."""
        asked = self._asked
        request = asked.fit.request(launch) if asked is not None else None
        if request is None:
            return start_process(launch)
        try:
            process = self._start_warm(request, launch.output, cgroup)
        finally:
            os.close(request.script)
        return process or start_process(launch)

    def _start_warm(self, request: Request, output: int, cgroup: SlotCgroup | None) -> WarmProcess | None:
        descriptors = [output, request.script, *([] if cgroup is None else [cgroup.descriptor])]
        with self._lock:  # and with the turn: while a process is made, the others would only get in its way
            if self._asked is None:
                return None
            pid = self._ask(self._asked, request.packet, descriptors)
            if pid == NO_PROCESS:
                return None
            process = WarmProcess(pid)
            self._children = [*(child for child in self._children if child.returncode is None), process]
            return process

    # ── holding the lock ──────────────────────────────────────────────────────────────────────────

    def _ask(self, server: _Server, packet: bytes, descriptors: list[int]) -> int:
        """The pid of the process; NO_PROCESS: there is none."""
        if server.is_out_of_date():
            self._retire(server)
            return NO_PROCESS
        try:
            answer = server.ask(packet, descriptors)
        except OSError as error:
            log.warning("the fork server is lost: %s", error, extra={"action": "warm.lost"})
            self._asked = None
            return self._made_by_the_dead(server)
        if server.asked >= self._most_jobs:
            self._retire(server)
        return answer

    def _retire(self, server: _Server) -> None:
        self._asked, server.retired = None, True
        server.end()

    def _made_by_the_dead(self, server: _Server) -> int:
        """The process that a server has made, and could not tell of; NO_PROCESS: it made none."""
        server.end()
        server.wait(sigkill.DEATH_S)
        known = {child.pid for child in self._children if child.returncode is None}
        made = set(procfs.children_of_thread(self._thread)) - known - {server.process.pid}
        return made.pop() if made else NO_PROCESS

    # ── its thread ────────────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        self._thread = threading.get_native_id()
        pause_s = _FIRST_PAUSE_S
        while not self.stopping.is_set():
            began_at = time.monotonic()
            try:
                server = self._begin()
            except OSError as error:
                log.warning("no fork server could be started: %s", error, extra={"action": "warm.failed"})
            else:
                self._see_through(server)
                if server.is_impossible:
                    return
                if server.retired or time.monotonic() - began_at > _LASTING_S:
                    pause_s = _FIRST_PAUSE_S
                    continue
            self.stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _begin(self) -> _Server:
        with self._lock:  # whoever looks for the process that a dead one has made must not find the next one
            self._newest = _Server(self._environment)
        if self.stopping.is_set():  # too late for `on_stop`
            self._newest.end()
        return self._newest

    def _see_through(self, server: _Server) -> None:
        is_ready = server.is_ready()
        if is_ready and all(self._stands_its_trial(server, ending) for ending in _TRIAL_ENDINGS):
            server.asked = 0
            self._asked = server
        else:
            if not is_ready:
                server.wait(ANSWER_S)  # its exit code tells whether another one would be better
            server.end()
        server.wait()
        with self._lock:
            self._asked = None
            server.close()
        if not (server.retired or self.stopping.is_set()):
            level = logging.INFO if server.is_impossible else logging.WARNING
            log.log(level, "the fork server has ended: %s", server.last_words, extra={"action": "warm.ended"})

    def _stands_its_trial(self, server: _Server, ending: int) -> bool:
        """Whether a script begins, and ends, as it should; before a job depends on it."""
        with contextlib.suppress(OSError), open(os.memfd_create("warm-trial", os.MFD_CLOEXEC), "rb") as output:
            launch = Launch([*_TRIAL, str(ending)], "/", self._environment, output.fileno())
            request = server.fit.request(launch)
            if request is None:
                server.verdict = f"{_TRIAL[2]} can not be started warm"
                return False
            try:
                pid = server.ask(request.packet, [launch.output, request.script])
            finally:
                os.close(request.script)
            if pid != NO_PROCESS:
                ended, said = _ending_of(WarmProcess(pid)), os.pread(launch.output, _LAST_BYTES, 0)
                if (ended, said) == (ending, b"%d True\n" % ending):
                    return True
                said_text = said.decode(errors="replace")
                server.verdict = (
                    f"with this Python a script ends with {ended}, having said {said_text!r}; all start cold"
                )
        return False


class _Server:
    """A fork server that has been started. Raises OSError."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self.retired = False
        """Ended because it was to be."""
        self.asked = 0
        self.last_words = ""
        self.verdict = ""
        """Why it must not start any job; empty: nothing is known against it."""
        self.fit: Fit
        """Once it is ready."""
        self._output = os.memfd_create("warm-server", os.MFD_CLOEXEC)
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM_BYTES)
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):  # Python's own timeout is a system call before each
            self._socket.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(ANSWER_S), int(ANSWER_S % 1 * 1e6)))
        self._look_at = 0.0
        """When its threads are counted next; monotonic."""
        self._lock = threading.Lock()
        self._pidfd = -1
        try:
            self.process = self._start(theirs)
            self._pidfd = os.pidfd_open(self.process.pid)
            self._threads = Path(f"/proc/{self.process.pid}/task")
        except OSError:
            self._close_descriptors()
            raise
        finally:
            theirs.close()

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        with FORK_GATE:
            return subprocess.Popen(
                [sys.executable, "-u", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                cwd="/",
                env=self._environment,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )

    @property
    def is_impossible(self) -> bool:
        """Whether another one would be no better. Once it has been closed."""
        return bool(self.verdict) or self.process.returncode == IMPOSSIBLE

    def is_ready(self) -> bool:
        """Wait for its first word; False: it has ended, or takes too long."""
        with contextlib.suppress(OSError):
            self.fit = Fit(self._environment, self._heard(ROOM_BYTES))
            return True
        return False

    def is_out_of_date(self) -> bool:
        """Whether a Python that is started now would be another one, or a copy of this one none."""
        return self.fit.is_out_of_date() or self._has_company()

    def _has_company(self) -> bool:
        """Whether it has a thread beside the one that forks. It makes none itself; a library that somebody has put
        under it might, which is looked for once in a while."""
        now = time.monotonic()
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_S
        return self._threads.stat().st_nlink > _LINKS_OF_ONE

    def ask(self, packet: bytes, descriptors: list[int]) -> int:
        """What it answers. Raises OSError when it does not."""
        self.asked += 1
        socket.send_fds(self._socket, [packet], descriptors)
        return int.from_bytes(self._heard(4), sys.byteorder, signed=True)

    def end(self) -> None:
        """Any thread may, at any time."""
        with self._lock, contextlib.suppress(ProcessLookupError):
            if self._pidfd >= 0:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def wait(self, timeout_s: float | None = None) -> None:
        """For its end; not after `close`."""
        procfs.ends_within(self._pidfd, timeout_s)

    def close(self) -> None:
        """It has ended."""
        self.process.wait()
        self.last_words = self.verdict or os.pread(self._output, _LAST_BYTES, 0).decode(errors="replace").strip()
        self._close_descriptors()

    def _heard(self, most_bytes: int) -> bytes:
        try:
            packet = self._socket.recv(most_bytes)
        except BlockingIOError:
            raise TimeoutError("it does not answer") from None
        if not packet:
            raise ConnectionResetError("it has ended")
        return packet

    def _close_descriptors(self) -> None:
        self._socket.close()
        os.close(self._output)
        with self._lock:
            pidfd, self._pidfd = self._pidfd, -1
        if pidfd >= 0:
            os.close(pidfd)


def _ending_of(process: WarmProcess) -> int:
    """Its exit code; it is given ANSWER_S."""
    pidfd = os.pidfd_open(process.pid)
    try:
        if not procfs.ends_within(pidfd, ANSWER_S):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        return process.wait()
    finally:
        os.close(pidfd)
