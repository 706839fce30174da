"""One storm from its start to its end: the cluster, the load, the faults; then calm, rest, and the evidence.

    start ─▶ blow (kills and misfortunes) ─▶ calm ─▶ rest ─▶ are the services there? ─▶ stop them
          ─▶ does the cluster shrink? ─▶ judge ─▶ stop

Driven by the main thread. Whatever happens, `close` leaves no process of ours behind.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from titan_core.net.credentials import find_token
from titan_sdk import TitanClient
from titan_sdk.access import Access
from titan_sdk.errors import Conflict, TitanError, WaitTimedOut
from titan_sdk.transport import Transport
from titan_test_suite.pytests.support.ports import free_range
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.torture import evidence, fires, oracle, recovery, services, spawned
from titan_test_suite.torture.ear import Ear
from titan_test_suite.torture.evidence import Witness
from titan_test_suite.torture.faults import NEAR_S, Killer
from titan_test_suite.torture.fires import Chronicle, FireEvidence
from titan_test_suite.torture.load import Client
from titan_test_suite.torture.oracle import Evidence, Violation
from titan_test_suite.torture.plans import INSTANCES
from titan_test_suite.torture.programs import Programs
from titan_test_suite.torture.promises import Promise
from titan_test_suite.torture.proxy import Proxy, Weather
from titan_test_suite.torture.recovery import Times
from titan_test_suite.torture.schedules import Keeper, Timed
from titan_test_suite.torture.scripts import Scripts

START_S = 30.0
_GONE_S = 10.0
_KEPT_S = 60.0
"""How long it may take until the services that last are as they are wanted …"""
_SHRUNK_S = 45.0
"""… and until a cluster that has nothing to do has only the workers that were started with it."""
_INSTANCES = {"twin": INSTANCES}


@dataclass(frozen=True)
class Plan:
    """How hard it blows. Seconds."""

    seed: int
    duration_s: float
    workers: int = 3
    max_workers: int = 6
    clients: int = 4
    rate: float = 70.0
    """Jobs per second that are submitted, as long as the cluster keeps up."""
    most_open: int = 64
    """Runs that are open at most."""
    kill_between_s: tuple[float, float] = (1.0, 4.0)
    master_share: float = 0.4
    """The part of the kills that hits the master."""
    due_share: float = 0.75
    """The part of those that comes within a moment of when a schedule is due."""
    death_s: float = 30.0
    heartbeat_s: float = 10.0
    grace_s: float = 12.0
    """So short that the cluster grows between two kills of the master, and so long that workers are back by then."""
    rest_s: float = 150.0
    """How long it may take after the last fault until everything is final."""

    @property
    def weather(self) -> Weather:
        # Some partitions outlast the master's patience.
        return Weather(partition_most_s=max(8.0, 1.3 * self.death_s), partition_between_s=max(15.0, self.death_s))


@dataclass
class Outcome:
    """What a storm did, and what came of it."""

    plan: Plan
    kills: Counter[str]
    """By program."""
    misfortunes: Counter[str]
    counts: Counter[str]
    """Of the clients' books."""
    runs: int
    states: Counter[str]
    """Jobs by what became of them."""
    lost_attempts: int
    times: Times
    violations: list[Violation]
    evidence: Evidence
    rest_s: float
    """From the last fault until everything was final."""
    spawned: int
    """Workers that were seen, and that other workers had started."""
    fires: fires.Figures
    near: int
    """Kills of the master that came within NEAR_S of when a schedule was due."""
    wanted: Counter[str]
    """What somebody wanted of schedules."""


class Storm:
    """`say` is told, now and then, how it goes."""

    def __init__(self, plan: Plan, home: Path, say: Callable[[str], None]) -> None:
        self.plan = plan
        self._say = say
        self._home = home
        self._ledger = home / "ledger"
        self._scripts = Scripts(home / "scripts", self._ledger)
        self._programs = Programs(home, plan.workers, [*_timing(plan), *_scaling(plan)])
        self._proxy = Proxy(self._programs.master_port, self._chance("proxy"), plan.weather)
        self._programs.connect_workers(self._proxy.route)
        self._killer = Killer(
            self._programs,
            self._chance("kills"),
            plan.kill_between_s,
            plan.master_share,
            lambda: spawned.listed(self._direct()),
            lambda wall: self._keeper.next_due(wall),
            plan.due_share,
        )
        ports = self._proxy.route("clients"), self._programs.master_port
        access, direct = (Access("127.0.0.1", port, token_file=str(self._programs.token_file)) for port in ports)
        self._keeper = Keeper(access, direct, self._chance("schedules"))
        self._ear = Ear()
        self._clients: list[Client] = []
        self._interrupted = threading.Event()
        self._found: list[Violation] = []

    def run(self) -> Outcome:
        """The whole of it. Raises AssertionError when the cluster does not even start."""
        self._start()
        self._blow()
        rest_s = self._rest()
        return self._judge(rest_s)

    @property
    def interrupted(self) -> bool:
        return self._interrupted.is_set()

    def interrupt(self) -> None:
        """Come to the end sooner; callable from a signal handler."""
        self._interrupted.set()

    def close(self) -> None:
        """End everything that still runs."""
        self._killer.stop()
        for client in self._clients:
            client.leave()
        self._keeper.leave()
        self._ear.close()
        for member in (*self._programs.workers, self._programs.master):
            if member.pid and member.exit_code() is None:
                member.kill()
        spawned.kill_all(self._home)
        self._proxy.stop()
        for pid in evidence.processes_of_jobs(self._ledger):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    # ── the acts ──────────────────────────────────────────────────────────────────────────────────

    def _start(self) -> None:
        self._programs.master.start()
        wait_until(self._programs.token_file.exists, START_S, self._programs.master.tail)
        for worker in self._programs.workers:
            worker.start()
        with contextlib.closing(Witness(self._direct())) as witness:
            wait_until(lambda: _count(witness) == self.plan.workers, START_S, self._programs.master.tail)
        access = Access("127.0.0.1", self._proxy.route("clients"), self._token())
        per_client = self.plan.rate / self.plan.clients, -(-self.plan.most_open // self.plan.clients)
        for number in range(self.plan.clients):
            name = f"client-{number}"
            self._clients.append(Client(name, access, self._chance(name), self._scripts, *per_client))
        self._keeper.make(self._scripts, self._ear.url, self.plan.duration_s)
        for client in self._clients:
            client.start()
        self._keeper.start()

    def _blow(self) -> None:
        began_at = time.monotonic()
        self._proxy.storm()
        self._killer.start()
        while (passed_s := time.monotonic() - began_at) < self.plan.duration_s:
            if self._interrupted.wait(min(10.0, self.plan.duration_s - passed_s)):
                break
            self._say(self._progress(time.monotonic() - began_at))
        self._killer.stop()
        self._scripts.calm()
        self._proxy.calm()

    def _rest(self) -> float:
        """Wait until everything is final; how long that took."""
        self._say("calm; waiting until everything is final")
        began_at = time.monotonic()
        for client in self._clients:
            client.calm()
        self._keeper.calm()
        with contextlib.suppress(AssertionError):  # what is not final is for the oracle to say
            wait_until(self._is_at_rest, self.plan.rest_s)
        rest_s = time.monotonic() - began_at
        self._killer.look_after()
        for client in self._clients:
            client.leave()
        self._keeper.leave()
        return rest_s

    def _is_at_rest(self) -> bool:
        return all(client.at_rest for client in self._clients) and self._keeper.at_rest()

    def _judge(self, rest_s: float) -> Outcome:
        self._say("judging")
        promises = [promise for client in self._clients for promise in client.book.promises]
        workers = self._programs.worker_names
        survivors = self._judge_services([promise for promise in promises if promise.plan.lasts])
        self._wait_until_it_has_shrunk()
        with contextlib.closing(Witness(self._direct())) as witness:
            ever = spawned.ever(self._programs.worker_homes)
            faults = evidence.faults_of(self._killer.kills, self._proxy.partitions, workers, ever)
            chronicles = [self._chronicle(witness, timed) for timed in self._keeper.planned]
            fired = [promise for chronicle in chronicles for promise in fires.promises_of(chronicle)]
            known = evidence.gather(witness, [*promises, *fired], self._ledger, faults, survivors)
        self._stop_programs()
        self._found += [Violation("refused", "", text) for client in self._clients for text in client.book.refused]
        self._found += [Violation("program", "", text) for text in self._killer.ended]
        times = recovery.measure(self._killer.kills, self._proxy.partitions, known.ledger, promises, workers)
        return self._outcome(known, times, rest_s, self._judge_fires(chronicles, known))

    def _chronicle(self, witness: Witness, timed: Timed) -> Chronicle:
        keeper = self._keeper
        return Chronicle(timed, timed.slots(keeper.first, keeper.last), keeper.until, witness.fires(timed.name))

    def _judge_fires(self, chronicles: list[Chronicle], known: Evidence) -> fires.Figures:
        told = FireEvidence(chronicles, known.ledger, known.jobs, self._killer.walls_of_master(), self._ear.heard)
        self._found += fires.judge(told)
        return fires.figures(told)

    def _judge_services(self, lasting: list[Promise]) -> list[str]:
        """See that the services that last are there, and nothing else is; stop them, and see that nothing is left."""
        with contextlib.closing(Transport(self._direct(), _GONE_S)) as transport:
            with contextlib.suppress(AssertionError):  # what is not there is written down below
                wait_until(lambda: not _faults(transport, lasting), _KEPT_S)
            self._found += _faults(transport, lasting)
            expected = {
                one for promise in lasting for one in services.executions(services.present(transport, promise))
            }
        survivors = self._strangers(expected)
        with TitanClient("127.0.0.1", self._programs.master_port, token=self._token()) as client:
            for promise in lasting:
                _stop_service(client, services.key_of(promise))
        return sorted({*survivors, *self._strangers(set())})

    def _strangers(self, expected: set[str]) -> list[str]:
        """Processes of jobs but those of the `expected` attempts."""
        with contextlib.suppress(AssertionError):  # what ended just now may still be on its way out
            wait_until(lambda: not self._unexpected(expected), _GONE_S)
        return self._unexpected(expected)

    def _unexpected(self, expected: set[str]) -> list[str]:
        living = evidence.processes_of_jobs(self._ledger)
        return [f"{name} (pid {pid})" for pid, name in living.items() if name not in expected]

    def _wait_until_it_has_shrunk(self) -> None:
        """There is nothing to do: the workers that were started because there was too much are to go."""
        with contextlib.suppress(AssertionError):  # who is left is written down below
            wait_until(lambda: not spawned.processes(self._home), _SHRUNK_S)
        left = spawned.processes(self._home)
        listed = {one.pid: one.worker_id for one in spawned.listed(self._direct())}
        self._found += [
            Violation("scale", "", f"{listed.get(pid, 'a worker that the master does not know')} is left: {command}")
            for pid, command in left.items()
        ]

    def _stop_programs(self) -> None:
        """Stop the cluster as a user would, and have its store checked."""
        for member in (*self._programs.workers, self._programs.master):
            code = member.stop()
            if code != 0:
                self._found.append(Violation("program", "", f"{member.name} stopped with exit code {code}"))
        left = spawned.processes(self._home)
        self._found += [Violation("I7", "", f"still alive: {command} (pid {pid})") for pid, command in left.items()]
        command = [sys.executable, "-m", "titan_core.store.check", str(self._home)]
        checked = subprocess.run(command, capture_output=True, text=True, check=False)
        if checked.returncode:
            self._found.append(Violation("store", "", (checked.stdout + checked.stderr).strip()))

    def _outcome(self, known: Evidence, times: Times, rest_s: float, fired: fires.Figures) -> Outcome:
        near = [wall for wall in self._killer.walls_of_master() if self._keeper.is_due_near(wall, NEAR_S)]
        jobs = [job for run in known.jobs.values() for job in run.values()]
        return Outcome(
            self.plan,
            Counter("spawned" if ":" in kill.member else kill.member for kill in self._killer.kills),
            self._proxy.happened,
            sum((client.book.counts for client in self._clients), Counter()),
            len(known.promises),
            Counter(job.state for job in jobs),
            sum(attempt.outcome == "LOST" for job in jobs for attempt in job.attempts),
            times,
            self._found + oracle.judge(known),
            known,
            rest_s,
            len(self._killer.spawned),
            fired,
            len(near),
            self._keeper.counts,
        )

    # ── what they need ────────────────────────────────────────────────────────────────────────────

    def _chance(self, name: str) -> random.Random:
        return random.Random(f"{self.plan.seed} {name}")

    def _direct(self) -> Access:
        return Access("127.0.0.1", self._programs.master_port, self._token())

    def _token(self) -> str:
        return find_token(str(self._programs.token_file))

    def _progress(self, passed_s: float) -> str:
        jobs = sum(client.book.counts["submitted"] for client in self._clients)
        kills = f"{self._killer.count(master=True)} + {self._killer.count(master=False)}"
        misfortunes = sum(self._proxy.happened.values())
        return f"{passed_s:5.0f} s   kills {kills:>9}   misfortunes {misfortunes:4}   jobs {jobs:6}"


def _timing(plan: Plan) -> list[str]:
    return ["--death-s", f"{plan.death_s}", "--heartbeat-s", f"{plan.heartbeat_s}", "--grace-s", f"{plan.grace_s}"]


def _scaling(plan: Plan) -> list[str]:
    low, high = free_range(4 * plan.max_workers)
    fast = ["--scale-up-s", "0.5", "--scale-down-s", "3", "--scale-s", "5"]
    return [
        "--provisioner",
        "inception",
        "--max-workers",
        str(plan.max_workers),
        "--worker-ports",
        f"{low}-{high}",
        *fast,
    ]


def _faults(transport: Transport, lasting: list[Promise]) -> list[Violation]:
    """What is wrong with services that are to be there."""
    found = []
    for promise in lasting:
        fault = services.fault(services.present(transport, promise), _INSTANCES.get(promise.plan.kind, 1))
        found += [Violation("kept", services.key_of(promise), fault)] if fault else []
    return found


def _stop_service(client: TitanClient, key: str) -> None:
    """What does not stop is for the oracle to say."""
    with contextlib.suppress(Conflict):  # it is DEAD
        client.stop_service(key)
    with contextlib.suppress(WaitTimedOut):
        client.wait_for_job(key, _GONE_S)


def _count(witness: Witness) -> int:
    try:
        return len(witness.workers())
    except TitanError:
        return 0
