"""The dashboard of a busy cluster: how soon its first page answers and a large graph is drawn, and its cost.

    python -m titan_test_suite.pytests.benchmarks.dashboard HOME PORT WORKERS SLOTS

is the workers, 50 in one process: like those of `instant` they complete every attempt the moment it comes, but jobs
called `held-…` they keep. 10,000 runs are over, 200 jobs run. A page is drawn when the last node of its graph is in
the document, counted from when the browser began to go there; each time it is a new window with nothing in its cache.
What it costs the master is measured in turns, with one open page, and while the dashboard is stopped (SIGSTOP).
"""

from __future__ import annotations

import secrets
import signal
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from titan_core.net.credentials import find_token
from titan_core.net.dial import dial
from titan_core.net.stream import FrameStream, decode, decode_any
from titan_core.protocol.messages import Heartbeat, Register, Registered, Result, StartAttempt
from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.benchmarks.cluster import companion, running_cluster
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, Wanted, at_most
from titan_test_suite.pytests.benchmarks.processes import busy_percent, resident_mb
from titan_test_suite.pytests.support import browser as browsers
from titan_test_suite.pytests.support.browser_scene import DashboardProgram
from titan_test_suite.pytests.support.cluster import Cluster
from titan_test_suite.pytests.support.waiting import wait_until

WORKERS, SLOTS, RUNNING, PAST = 50, 8, 200, 10_000
NODES, ROW = 500, 25
ANSWERS, DRAWINGS = 40, 3
"""Per round."""
RATE = 200
"""Jobs per second, of a master that is busy."""
SETTLE_S = 1.5
WITHOUT = "without it"
HELD = "held-"

_DRAWN = "(count) => document.querySelectorAll('#graph-box g.node').length === count && performance.now()"


def measure(plan: Plan) -> list[Figure]:
    with running_cluster(0, "--keep-runs", str(10 * PAST)) as cluster, cluster.client() as client:
        program = str(_program(cluster))
        with companion(cluster, "dashboard", cluster.home, cluster.port, WORKERS, SLOTS):
            wait_until(lambda: len(client.workers()) == WORKERS, 30)
            _fill(plan, client, program)
            graph = str(client.submit_dag("graph", _graph(program)))
            return [*_pages(plan, cluster, graph), *_cost(plan, cluster, program)]


# ── what there is in the cluster ──────────────────────────────────────────────────────────────────


def _program(cluster: Cluster) -> Path:
    """It is sent along, and never run."""
    program = cluster.home / "program.sh"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def _fill(plan: Plan, client: TitanClient, program: str) -> None:
    past = plan.size(PAST, PAST // 10)
    plan.say(f"{past:,} runs come and go, {RUNNING} jobs begin")
    for _ in range(past):
        client.submit_dag("past", [TitanJob("job", program)])
    client.submit_dag("running", [TitanJob(f"{HELD}{number}", program) for number in range(RUNNING)])
    wait_until(lambda: _count(client, "RUNNING") == RUNNING and not _count(client, "QUEUED"), 120)


def _count(client: TitanClient, state: str) -> int:
    return next((one.count for one in client.cluster().counts if one.state == state), 0)


def _graph(program: str) -> list[TitanJob]:
    """Rows of ROW jobs, each with two parents in the row above."""

    def parents(number: int) -> tuple[str, ...]:
        row, column = divmod(number, ROW)
        return tuple(f"{HELD}{(row - 1) * ROW + other % ROW}" for other in (column, column + 1)) if row else ()

    return [TitanJob(f"{HELD}{number}", program, parents=parents(number)) for number in range(NODES)]


# ── how soon ──────────────────────────────────────────────────────────────────────────────────────


def _pages(plan: Plan, cluster: Cluster, graph: str) -> list[Figure]:
    home_ms, drawn_s = [], []
    with DashboardProgram(cluster) as dashboard:
        for number in range(plan.rounds):
            plan.say(f"the first page {ANSWERS} times, round {number + 1} of {plan.rounds}")
            home_ms.append(_median([_answer_ms(dashboard.url) for _ in range(ANSWERS)]))
        if not browsers.missing():
            with browsers.opened() as browser:
                for number in range(plan.rounds):
                    plan.say(f"a graph of {NODES} jobs, round {number + 1} of {plan.rounds}")
                    once = [_drawn_s(browser, f"{dashboard.url}/runs/{graph}") for _ in range(DRAWINGS)]
                    drawn_s.append(_median(once))
        resident = resident_mb(dashboard.pid)
    figures = [
        Figure("first page: answer", "ms", home_ms, [at_most(100)]),
        Figure("dashboard: memory", "MB", [resident]),
    ]
    if not drawn_s:
        plan.say(f"no graph was drawn: {browsers.missing()}")
        return figures
    return [*figures, Figure(f"page of a run of {NODES} jobs: drawn", "s", drawn_s, [at_most(1.5)])]


def _answer_ms(url: str) -> float:
    begun_at = time.perf_counter()
    with urlopen(url, timeout=30) as answer:
        assert b"Newest runs" in answer.read()
    return 1000 * (time.perf_counter() - begun_at)


def _drawn_s(browser: object, url: str) -> float:
    with browsers.window(browser, url) as one:
        one.page.goto(url, wait_until="commit")
        return one.page.wait_for_function(_DRAWN, arg=NODES).json_value() / 1000


def _median(samples: list[float]) -> float:
    return Figure("", "", samples).value


# ── what it costs the master ──────────────────────────────────────────────────────────────────────


def _cost(plan: Plan, cluster: Cluster, program: str) -> list[Figure]:
    resting = _busy(plan, cluster, "at rest")
    with companion(cluster, "load", cluster.home, cluster.port, RATE, program, "none"):
        loaded = _busy(plan, cluster, f"at {RATE} jobs/s")
    return [*_added("at rest", [], *resting), *_added(f"at {RATE} jobs/s", [at_most(1.05, WITHOUT)], *loaded)]


def _busy(plan: Plan, cluster: Cluster, when: str) -> tuple[list[float], list[float]]:
    """% of a core that the master computes while a page is open, and while the dashboard is stopped, per round."""
    windows, seconds = plan.size(4, 1), plan.size(4, 3)
    shown, alone = [], []
    with _looked_at(cluster) as dashboard:
        for number in range(plan.rounds):
            plan.say(f"the master {when}, {windows} times {seconds} s with and without, round {number + 1}")
            with_it, without = [], []
            for _ in range(windows):  # in turns: what a master computes drifts by more than this
                without.append(_busy_after(cluster, seconds, dashboard, signal.SIGSTOP))
                with_it.append(_busy_after(cluster, seconds, dashboard, signal.SIGCONT))
            shown.append(statistics.mean(with_it))
            alone.append(statistics.mean(without))
    return shown, alone


def _busy_after(cluster: Cluster, seconds: float, dashboard: DashboardProgram, number: int) -> float:
    """% of a core that the master computes in a window that begins SETTLE_S after this signal to the dashboard."""
    dashboard.signal(number)
    time.sleep(SETTLE_S)
    [busy] = busy_percent([cluster.master.pid], seconds)
    return busy


@contextmanager
def _looked_at(cluster: Cluster) -> Iterator[DashboardProgram]:
    """By a browser; without one, by what reads the stream that a page reads, which keeps the dashboard as busy."""
    with DashboardProgram(cluster) as dashboard:
        if browsers.missing():
            with urlopen(f"{dashboard.url}/events", timeout=60):
                yield dashboard
            return
        with browsers.opened() as browser, browsers.window(browser, dashboard.url) as one:
            one.go("/")
            yield dashboard


def _added(when: str, wanted: list[Wanted], shown: list[float], alone: list[float]) -> list[Figure]:
    added = [with_it - without for with_it, without in zip(shown, alone, strict=True)]
    return [
        Figure(f"master {when}: CPU with the dashboard", "% of a core", shown, wanted, {WITHOUT: alone}),
        Figure(f"master {when}: what it adds", "% of a core", added, [at_most(5)]),
    ]


# ── the workers ───────────────────────────────────────────────────────────────────────────────────


def main(home: str, port: str, workers: str, slots: str) -> None:
    token = find_token(home=Path(home))
    streams = [dial("127.0.0.1", int(port), token, role="worker") for _ in range(int(workers))]
    for number, stream in enumerate(streams):
        _register(stream, number + 1, int(slots))
    threads = [threading.Thread(target=_serve, args=(stream,), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _register(stream: FrameStream, port: int, slots: int) -> None:
    """The port is a name here: nothing listens on it."""
    stream.send(Register(port, "simulated", ("GENERAL",), slots, secrets.token_bytes(16)))
    frame = stream.receive()
    assert frame is not None
    decode(frame, stream.receive_body(frame), Registered)


def _serve(stream: FrameStream) -> None:
    held: list[bytes] = []
    while (frame := stream.receive()) is not None:
        message = decode_any(frame, stream.receive_body(frame))
        if isinstance(message, StartAttempt) and message.job_id.startswith(HELD):
            held.append(message.token)
        elif isinstance(message, StartAttempt):
            stream.send(Result(message.token, "SUCCEEDED", 0))
        elif isinstance(message, Heartbeat):
            stream.send(Heartbeat(len(held), cpu_percent=12.5, running=tuple(held)))


if __name__ == "__main__":
    main(*sys.argv[1:])
