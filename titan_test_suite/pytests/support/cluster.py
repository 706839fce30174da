"""A cluster of real processes: a master and workers on free ports, in a home of their own, and verbs to kill them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from titan_sdk import TitanClient
from titan_test_suite.pytests.support.waiting import wait_until

STOP_S = 20.0


class Program:
    """One process of ours, its output in a file. `inside`: a command that becomes it somewhere else, `nsenter …`."""

    def __init__(
        self, name: str, arguments: list[str], home: Path, environ: dict[str, str], inside: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.inside = inside
        self.output = home / f"{name}.out"
        with open(self.output, "ab") as output:
            self.process = subprocess.Popen(
                [*inside, sys.executable, "-m", *arguments],
                cwd=home,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop it ourselves
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.process.kill()
        self.process.wait(STOP_S)

    def stop(self) -> int:
        """SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop within {STOP_S} s:\n{self.tail()}") from None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])


class Cluster:
    """A master and its workers. Use as a context manager; on leaving, everything is stopped, workers first."""

    master_program: Sequence[str] = ("titan_core.master",)
    worker_program: Sequence[str] = ("titan_core.worker",)
    """Module, and arguments before all others."""

    def __init__(self, home: Path, *master_flags: str) -> None:
        self.home = home
        self.environ = {k: v for k, v in os.environ.items() if not k.startswith("TITAN_")} | {"TITAN_HOME": str(home)}
        self.workers: list[Program] = []
        self.master = self.start_master(*master_flags)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        codes: dict[str, int] = {}
        with contextlib.ExitStack() as rest:  # one that does not stop must not keep the others from being stopped
            for program in (self.master, *self.workers):  # the last one first
                rest.callback(lambda program=program: codes.update({program.name: program.stop()}))
        bad = [name for name, code in codes.items() if code not in (0, -signal.SIGKILL)]
        if bad and error[0] is None:
            tails = "\n".join(p.tail() for p in (*self.workers, self.master) if p.name in bad)
            raise AssertionError(f"exit codes {codes}\n{tails}")

    @property
    def port(self) -> int:
        return int(json.loads((self.home / ".titan" / "master.json").read_text())["port"])

    def start_master(self, *flags: str, **environ: str) -> Program:
        """A master on a free port (give `--port` to choose), whose cluster does not grow (give `--provisioner` for
        that); returns when it has written where it listens. `environ` are variables for this one only."""
        program = self._begin_master(flags, environ)
        try:
            wait_until(lambda: self._listens(program), 20, program.tail)
        except BaseException:  # nobody holds it yet who could stop it
            program.kill()
            raise
        self.master = program
        return program

    def start_master_in_vain(self, *flags: str) -> str:
        """A master that is refused its start, with exit code 1: what it says."""
        program = self._begin_master(flags, {})
        try:
            assert program.process.wait(STOP_S) == 1, program.tail()
        finally:
            program.kill()
        return program.tail(1)

    def start_worker(
        self,
        capability: str = "GENERAL",
        *flags: str,
        slots: int = 4,
        port: int = 0,
        master: str = "localhost",
        home: Path | None = None,
        inside: Sequence[str] = (),
    ) -> Program:
        """A worker, registered when this returns; on a free port and in the home of the cluster unless told
        otherwise. One that is to be started again needs a `port`."""
        where = ["--home", str(home), "--token-file", str(self.home / ".titan" / "token")] if home else []
        program = Program(
            f"worker-{len(self.workers)}",
            [*self.worker_program, str(port), master, str(self.port), capability, f"--slots={slots}", *where, *flags],
            self.home,
            self.environ,
            inside,
        )
        self.workers.append(program)
        self._wait_for_worker(program)
        return program

    def restart_worker(self, program: Program) -> Program:
        """Another process in the place of a worker that has ended, on the same port; registered when this returns."""
        again = self.start_again(program)
        self._wait_for_worker(again)
        return again

    def start_again(self, program: Program) -> Program:
        """Like `restart_worker`, but nothing is waited for."""
        again = Program(program.name, program.arguments, self.home, self.environ, program.inside)
        self.workers[self.workers.index(program)] = again
        return again

    def client(self) -> TitanClient:
        return TitanClient(home=str(self.home), host="127.0.0.1", port=self.port)

    def cli(self, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
        """`titan …` as a user would run it, to its end."""
        command = [sys.executable, "-m", "titan_sdk.titan_cli", *arguments]
        settings: dict[str, object] = {"env": self.environ, "cwd": self.home, "text": True, "timeout": 60, **options}
        return subprocess.run(command, capture_output=True, check=False, **settings)  # type: ignore[call-overload,no-any-return]

    def _begin_master(self, flags: Sequence[str], environ: Mapping[str, str]) -> Program:
        port = [] if "--port" in flags else ["--port", "0"]
        fixed = [] if "--provisioner" in flags else ["--provisioner", "none"]
        arguments = [*self.master_program, *port, *flags, *fixed]
        return Program("master", arguments, self.home, {**self.environ, **environ})

    def _listens(self, program: Program) -> bool:
        if program.process.poll() is not None:
            raise AssertionError(f"the master ended with {program.process.returncode}:\n{program.tail()}")
        try:
            return bool(json.loads((self.home / ".titan" / "master.json").read_text())["pid"] == program.pid)
        except OSError:
            return False

    def _wait_for_worker(self, program: Program) -> None:
        with self.client() as client:
            wait_until(lambda: program.pid in [worker.pid for worker in client.workers()], 20, program.tail)
