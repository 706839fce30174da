"""What a demonstration stands on: what it shows, what it claims, and that nothing of it is left afterwards.

A demonstration is a function of a Stage and of a temporary home, in which it starts its cluster. Every claim is
checked where it is made; the exit code is 0 only if all of them held, 130 after Ctrl-C. Whatever happens, the
processes and the home are gone at the end.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import psutil

from titan_sdk.cli.output import Output
from titan_sdk.errors import TitanError

KILLED_S = 5.0
SWEEPS = 5
"""What is being killed may start one more process before that; the next sweep finds it."""
STOPPING = (signal.SIGINT, signal.SIGTERM)


class Stage:
    """What is shown, in order and at once, and which of the claims did not hold."""

    def __init__(self) -> None:
        self.out = Output(stdout=sys.stdout, stderr=sys.stdout)
        self.broken: list[str] = []
        self.interrupted = False

    def say(self, text: str, style: str = "") -> None:
        """Some lines; `style` is for terminals that know colours."""
        if self.out.pretty:
            self.out.console.print(text, style=style, soft_wrap=True)
        else:
            self.out.line(text)
        self.out.stdout.flush()

    def title(self, text: str) -> None:
        self.say(f"\n── {text} ──", "bold")

    def claim(self, held: bool, text: str) -> None:
        self.say(f"ok      {text}" if held else f"FAILED  {text}", "green" if held else "bold red")
        if not held:
            self.broken.append(text)


def performed(perform: Callable[[Stage, Path], None]) -> int:
    """The demonstration from its beginning to its end, however that comes; the exit code."""
    for number in STOPPING:
        signal.signal(number, _interrupt_once)
    _forget_other_clusters()
    stage, began_at = Stage(), time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="titan-demo-"))
    try:
        perform(stage, home)
    except KeyboardInterrupt:
        stage.interrupted = True
    except (TitanError, AssertionError) as error:
        stage.claim(False, str(error))
    finally:
        _leave_nothing(stage, home)
    return _verdict(stage, time.monotonic() - began_at)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


def _leave_nothing(stage: Stage, home: Path) -> None:
    """End what is still there, and remove the home."""
    left = found = _processes_of(home)
    for _ in range(SWEEPS):
        _kill(found)
        if not (found := _processes_of(home)):
            break
    shutil.rmtree(home, ignore_errors=True)
    if not stage.interrupted:  # an interrupt may come before the cluster knows of a process that it has started
        stage.claim(not left, "no process was left" + "".join(f", but {process}" for process in left))
    stage.claim(not (found or home.exists()), "everything is gone, the home too")


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, KILLED_S)


def _processes_of(home: Path) -> list[psutil.Process]:
    """The cluster's programs, which are ours, the workers that these have started, and all that its jobs have."""
    ours = psutil.Process().children(recursive=True)
    theirs = [process for process in psutil.process_iter() if _is_of_cluster(process, str(home))]
    return [process for process in dict.fromkeys([*ours, *theirs]) if _is_alive(process)]


def _is_of_cluster(process: psutil.Process, home: str) -> bool:
    """Whether it is a worker, or of a job. TITAN_HOME says nothing: whoever tries the cluster has set it as well."""
    with contextlib.suppress(psutil.Error):
        command = process.cmdline()
        is_worker = "titan_core.worker" in command and home in command
        return is_worker or process.environ().get("TITAN_SHARED", "").startswith(home)
    return False


def _is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def _verdict(stage: Stage, took_s: float) -> int:
    """What came of it; the exit code."""
    if stage.broken:
        stage.say("\nwhat did not hold:\n" + "\n".join(stage.broken), "bold red")
        return 1
    if stage.interrupted:
        stage.say("\ninterrupted; everything was stopped")
        return 130
    stage.say(f"\nall of it held, in {took_s:.1f} s", "bold green")
    return 0


# ── starting ──────────────────────────────────────────────────────────────────────────────────────


def _interrupt_once(number: int, frame: FrameType | None) -> None:
    """The first signal ends the performance; the stopping that follows is not to be disturbed."""
    for other in STOPPING:
        signal.signal(other, lambda number, frame: None)  # SIG_IGN is complained about when a second one is pending
    raise KeyboardInterrupt


def _forget_other_clusters() -> None:
    """What is set for a cluster of the user's own must not lead the demonstration to it."""
    for name in [name for name in os.environ if name.startswith("TITAN_")]:
        del os.environ[name]
