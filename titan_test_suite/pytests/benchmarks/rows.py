"""The store by itself, without a master: rows to disk, and back at the next start.

Batches as an engine makes them for a job that is submitted, begins and succeeds, at most WINDOW of them not yet
on disk. Beside it the same with a thread that never waits, since a master under load has many of them; and one
step at a time, which is what a lone submission waits for. Where the files are decides much: see `--directory`.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from titan_core.clock import SystemClock
from titan_core.protocol import messages
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.records import AttemptRecord, Batch, EventRecord, JobRecord, RunRecord, StateRecord
from titan_core.scheduler.states import JobState
from titan_core.store.schema import DATABASE
from titan_core.store.sqlite import Store
from titan_test_suite.pytests.benchmarks.figures import Figure, Plan, p50_and_p99

WINDOW = 64
LONE_STEPS = 200
RUN, WORKER = 1, "host.example:8080"
ALONE = "alone"


def measure(plan: Plan) -> list[Figure]:
    count = plan.size(20_000, 2_000)
    alone, computed, busy, lone, loaded, sizes = [], [], [], [], [], []
    for number in range(plan.rounds):
        plan.say(f"rows of {count:,} jobs, round {number + 1} of {plan.rounds}")
        with _home() as home:
            computed_s = time.process_time()
            alone.append(_write_us(home, count))
            computed.append((time.process_time() - computed_s) / count * 1e6)
            lone.append(_lone_steps_s(home))
            sizes.append((home / DATABASE).stat().st_size / count)
        with _home() as home, _a_busy_thread():
            busy.append(_write_us(home, count))
        with _home() as home:
            stored = plan.size(100_000, 5_000)
            _write_us(home, stored)
            loaded.append(_load_s(home))
    return [
        Figure("a job's rows, written", "µs", alone),
        Figure("a job's rows, made and written: CPU", "µs", computed),
        Figure("a job's rows, beside a busy thread", "µs", busy, beside={ALONE: alone}),
        *p50_and_p99("one step, to disk", lone, ()),
        Figure("a job's rows, on disk", "bytes", sizes),
        Figure(f"{stored:,} stored jobs: read", "s", loaded),
    ]


def _write_us(home: Path, count: int) -> float:
    with _store(home) as store:
        batches = list(_batches(count, time.monotonic()))
        begun_at = time.perf_counter()
        for number, batch in enumerate(batches):
            ticket = store.append(batch)
            if number % WINDOW == WINDOW - 1:
                store.wait(ticket - WINDOW)
        store.wait(store.last)
        return (time.perf_counter() - begun_at) / count * 1e6


def _lone_steps_s(home: Path) -> list[float]:
    samples = []
    with _store(home) as store:
        for _ in range(LONE_STEPS):
            begun_at = time.perf_counter()
            store.wait(store.append(Batch([_run(0.0, 1)], [], [], [], [], [], [])))
            samples.append(time.perf_counter() - begun_at)
    return samples


def _load_s(home: Path) -> float:
    store = Store(home, SystemClock())
    begun_at = time.perf_counter()
    store.load(0.0)
    taken_s = time.perf_counter() - begun_at
    store.stop()
    return taken_s


# ── what is written ───────────────────────────────────────────────────────────────────────────────


def _batches(count: int, now: float) -> Iterator[Batch]:
    """Three steps a job; the run is left with a job that is not final, so that a start reads all of it."""
    run = _run(now, count)
    for number in range(count):
        job = RUN + 1 + number
        asked = JobRecord(job, RUN, f"job-{number}", _spec(number), now, "")
        attempt = AttemptRecord(
            job, 1, job.to_bytes(16, "big"), WORKER, now, None, "", -1, "", 0, False, False, False
        )
        over = attempt._replace(finished_at=now, outcome="SUCCEEDED", exit_code=0, reason="exit code 0", counted=True)
        queued, running, ended = (_change(job, 3 * number + step, now) for step in range(3))
        yield Batch([run], [], [asked], [queued[0]], [], [queued[1]], [])
        yield Batch([run], [], [], [running[0]], [attempt], [running[1]], [])
        yield Batch([run], [], [], [ended[0]], [over], [ended[1]], [])


def _change(job: int, version: int, now: float) -> tuple[StateRecord, EventRecord]:
    path = ("BLOCKED", "QUEUED", "RUNNING", "COMPLETED")
    reasons = ("ready", f"on {WORKER}", "exit code 0")
    step = version % 3
    before, after, over = path[step], path[step + 1], step == 2
    state = StateRecord(
        job, RUN, after, reasons[step], version, 0, 0, 0, 0, "", "", None, now, now if over else None, over, False
    )
    return state, EventRecord(RUN, version, job, now, before, after, reasons[step], step)


def _spec(number: int) -> JobSpec:
    return JobSpec(f"job-{number}", messages.Task("etl.py", "ab" * 32, args=("--part", str(number))))


def _run(now: float, live_jobs: int) -> RunRecord:
    return RunRecord(
        RUN, "etl-20260101T000000-abcd", "etl", b"s" * 16, now, None, "RUNNING", live_jobs, (0,) * len(JobState)
    )


# ── where ─────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def _home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="titan-bench-") as directory:
        yield Path(directory)


@contextmanager
def _store(home: Path) -> Iterator[Store]:
    store = Store(home, SystemClock())
    store.start()
    try:
        yield store
    finally:
        store.stop()
        store.join(10)


@contextmanager
def _a_busy_thread() -> Iterator[None]:
    """It computes without a pause, and gives way as threads of a master do."""
    over = threading.Event()
    thread = threading.Thread(target=lambda: _compute_until(over))
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _compute_until(over: threading.Event) -> None:
    while not over.is_set():
        sum(range(1000))
