"""A Slurm of our own: munged, slurmctld and slurmd on free ports, all they keep in one directory, and one node, here.

`refusal` says what is missing. Who talks to it needs `environ`. Its processes are ended by their ids, jobs before.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.waiting import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
_CONFIGURATION = """\
ClusterName=titan
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={home}/munge.socket
CredType=cred/munge
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Where distributions put it."""


def refusal() -> str:
    """Why there can be no Slurm here; empty: nothing is known."""
    missing = [program for program in PROGRAMS if _found(program) is None]
    return f"Slurm is not installed here (no {', '.join(missing)})" if missing else ""


class Slurm:
    """`start` raises AssertionError, with what Slurm says, where it does not start."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._daemons: list[subprocess.Popen[bytes]] = []
        self.environ = {"SLURM_CONF": str(home / "slurm.conf")}

    def start(self) -> None:
        try:
            self._configure()
            munge = [f"--{name}={self._home}/munge.{name.partition('-')[0]}" for name in _MUNGE_FILES]
            self._start("munged", "--foreground", "--force", *munge)
            self._wait((self._home / "munge.socket").exists)
            self._start("slurmctld", "-D", "-i")
            self._start("slurmd", "-D")
            self._wait(lambda: "idle" in self.ask("sinfo", "-h", "-o", "%T"))
        except BaseException:
            self._end()
            raise

    def stop(self) -> None:
        try:
            self.ask("scancel", "--user", _user())
            self._wait(lambda: not self.jobs())
        finally:
            self._end()

    def ask(self, program: str, *arguments: str) -> str:
        """What one of its commands prints; what it complains of as well."""
        command = [str(_found(program)), *arguments]
        environ = os.environ | self.environ
        done = subprocess.run(command, env=environ, cwd=self._home, capture_output=True, text=True, timeout=20)
        return done.stdout + done.stderr

    def jobs(self) -> list[str]:
        """The names of its jobs that are not over."""
        return self.ask("squeue", "-h", "-o", "%j").split()

    def said(self) -> str:
        """The last lines of each of its programs."""
        logs = sorted(self._home.glob("*.out"))
        return "\n".join(f"{log.stem}: {line}" for log in logs for line in log.read_text().splitlines()[-8:])

    def _configure(self) -> None:
        host = socket.gethostname().partition(".")[0]
        ports = {"controller_port": free_port(), "node_port": free_port()}
        text = _CONFIGURATION.format(host=host, user=_user(), home=self._home, **ports)
        (self._home / "slurm.conf").write_text(text)
        (self._home / "state").mkdir()
        (self._home / "spool").mkdir()
        key = self._home / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))

    def _start(self, program: str, *arguments: str) -> None:
        with open(self._home / f"{program}.out", "ab") as output:
            daemon = subprocess.Popen(
                [str(_found(program)), *arguments],
                env=os.environ | self.environ,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._daemons.append(daemon)

    def _wait(self, predicate: Callable[[], object]) -> None:
        wait_until(lambda: predicate() or self._fail_if_ended(), 15, self.said)

    def _fail_if_ended(self) -> None:
        ended = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
        assert not ended, f"{ended} ended:\n{self.said()}"

    def _end(self) -> None:
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()


_MUNGE_FILES = ("socket", "key-file", "seed-file", "log-file", "pid-file")


def _found(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path=_PATH)


def _user() -> str:
    return pwd.getpwuid(os.getuid()).pw_name
