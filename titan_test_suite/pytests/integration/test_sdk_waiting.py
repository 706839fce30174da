"""Waiting, watching, following: questions that repeat, survive a master that is away, and end. Sending once more."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from titan_core.errors import ConnectionFailed, ConnectionLost, NotFound, Unavailable
from titan_core.net.stream import FrameStream
from titan_core.protocol.messages import (
    EventList,
    GetJob,
    GetLogs,
    GetRun,
    JobEvent,
    JobStatus,
    ListEvents,
    ListWorkers,
    LogChunk,
    RunStatus,
    StateCount,
    SubmitRun,
    Submitted,
    WorkerList,
    WorkerStatus,
)
from titan_sdk import TitanClient, patience
from titan_sdk.errors import JobFailed, RunFailed, WaitTimedOut
from titan_sdk.handles import JobHandle, RunHandle
from titan_test_suite.pytests.support.scripted_master import TOKEN, HangUp, ScriptedMaster

RUNNING = RunStatus("r-1", "r", "RUNNING", 3)
DONE = RunStatus("r-1", "r", "COMPLETED", 9, final=True)
DONE_WITH_JOBS = RunStatus("r-1", "r", "COMPLETED", 9, jobs=(JobStatus("r-1", "a", "COMPLETED"),), final=True)
JOB_DONE = JobStatus("r-1", "a", "COMPLETED", final=True)


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def test_a_wait_asks_again_until_the_end_and_then_for_the_jobs(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, RUNNING, RUNNING, DONE, DONE_WITH_JOBS)
    assert client.wait("last") == DONE_WITH_JOBS
    assert master.requests == [
        GetRun("last", until_final=True, jobs=False),
        GetRun("r-1", 30.0, until_final=True, jobs=False),  # `last` may be another run by now
        GetRun("r-1", 30.0, until_final=True, jobs=False),
        GetRun("r-1"),
    ]


def test_a_wait_takes_a_job_where_no_run_has_that_name(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, NotFound("no such run"))
    master.answer(GetJob, JobStatus("r-1", "a", "RUNNING"), JOB_DONE)
    assert client.wait("a") == JOB_DONE
    assert master.asked(GetJob) == [GetJob("a"), GetJob("r-1/a", 30.0)]


def test_a_wait_for_nothing_known_says_so(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, NotFound("no such run"))
    master.answer(GetJob, NotFound("there is no run or job 'x'"))
    with pytest.raises(NotFound, match="no run or job 'x'"):
        client.wait("x")


def test_a_time_out_is_the_callers_own(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, RUNNING)
    with pytest.raises(WaitTimedOut, match=r"r-1 is still RUNNING after 0\.05 s"):
        client.wait("r", timeout=0.05)
    assert all(request.wait_s <= 0.05 for request in master.asked(GetRun))


def test_a_time_out_of_nothing_asks_once(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, RUNNING)
    with pytest.raises(WaitTimedOut):
        client.wait("r", timeout=0)
    assert len(master.requests) == 1


def test_a_wait_survives_a_master_that_is_away_for_a_moment(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, RUNNING, HangUp(), HangUp(), DONE, DONE_WITH_JOBS)
    assert client.wait("r") == DONE_WITH_JOBS


def test_a_wait_that_was_never_answered_gives_up_at_once(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, HangUp())
    with pytest.raises(ConnectionLost):
        client.wait("r")


def test_a_watch_gives_what_changed_and_ends_with_the_final_one(master: ScriptedMaster, client: TitanClient) -> None:
    changed = RunStatus("r-1", "r", "RUNNING", 4, jobs=(JobStatus("r-1", "a", "RUNNING"),))
    master.answer(GetRun, RUNNING, RUNNING, changed, DONE)
    assert list(client.watch("r")) == [RUNNING, changed, DONE]
    assert [request.since for request in master.asked(GetRun)] == [0, 3, 3, 4]
    assert [request.wait_s for request in master.asked(GetRun)] == [0.0, 30.0, 30.0, 30.0]


def test_a_watch_may_time_out(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, RUNNING)
    with pytest.raises(WaitTimedOut):
        list(client.watch("r", timeout=0.05))


def test_who_waits_is_told_once_that_the_master_is_away(master: ScriptedMaster) -> None:
    told: list[str] = []
    master.answer(GetRun, RUNNING, HangUp(), HangUp(), HangUp(), DONE, DONE_WITH_JOBS)
    with TitanClient("127.0.0.1", master.port, token=TOKEN, on_away=told.append) as client:
        client.wait("r")
    (sentence,) = told
    assert sentence.startswith("the master is away (") and sentence.endswith("trying again for 60 s")


def test_a_wait_ends_with_its_own_time_out_when_the_master_stays_away(
    master: ScriptedMaster, client: TitanClient
) -> None:
    master.answer(GetRun, RUNNING, HangUp())
    with pytest.raises(ConnectionLost):
        client.wait("r", timeout=0.3)


# ── submitting ────────────────────────────────────────────────────────────────────────────────────


def test_a_submission_whose_answer_is_lost_is_sent_again_as_the_same(
    master: ScriptedMaster, client: TitanClient, tmp_path: Path
) -> None:
    (tmp_path / "a.py").write_text("print(1)")
    master.answer(SubmitRun, HangUp(), Unavailable("not yet"), HangUp(), Submitted("a-1", 1))
    assert client.submit_job(filename=tmp_path / "a.py").run_id == "a-1"
    first, *others = master.asked(SubmitRun)
    assert others == [first] * 3 and len(first.request_id) == 16


def test_a_submission_that_can_not_be_sent_is_refused_at_once(client: TitanClient, master: ScriptedMaster) -> None:
    told: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with TitanClient("127.0.0.1", port, token=TOKEN, on_away=told.append) as lonely:
        with pytest.raises(ConnectionFailed):
            lonely.submit_job(filename="a.py")
    assert told == []


def test_a_submission_whose_fate_stays_open_says_so(
    master: ScriptedMaster, client: TitanClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "RESEND_S", 0.2)
    master.answer(SubmitRun, HangUp())
    with pytest.raises(ConnectionLost, match="whether the submission was accepted is not known"):
        client.submit_job(filename="a.py")
    assert len(master.asked(SubmitRun)) > 1


# ── what happened ─────────────────────────────────────────────────────────────────────────────────


def event(number: int, job_id: str = "a", after: str = "RUNNING") -> JobEvent:
    return JobEvent(number, 1.0, job_id, "QUEUED", after)


def test_events_come_page_by_page(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, RUNNING)
    master.answer(
        ListEvents, EventList("r-1", (event(1), event(2)), more=True), EventList("r-1", (event(3),)), EventList("r-1")
    )
    assert [found.number for found in client.events("last")] == [1, 2, 3]
    assert [(asked.key, asked.after) for asked in master.asked(ListEvents)] == [("r-1", 0), ("r-1", 2)]


def test_events_are_followed_until_the_run_is_over(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, RUNNING, HangUp(), replace(RUNNING, version=5), DONE)
    pages = [EventList("r-1", (event(3),)), EventList("r-1", (event(5),)), EventList("r-1", (event(9),))]
    master.answer(ListEvents, *pages)
    assert [found.number for found in client.events("last", follow=True)] == [3, 5, 9]
    assert [(asked.since, asked.wait_s) for asked in master.asked(GetRun)] == [
        (0, 0.0),
        (3, 30.0),
        (3, 30.0),
        (5, 30.0),
    ]


def test_events_of_a_job_are_followed_until_it_is_over(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, NotFound("no such run"), RUNNING)
    master.answer(GetJob, JobStatus("r-1", "a", "RUNNING"), JobStatus("r-1", "a", "RUNNING"), JOB_DONE)
    master.answer(ListEvents, EventList("r-1", (event(3),)), EventList("r-1", (event(4, after="COMPLETED"),)))
    assert [found.number for found in client.events("a", after=2, follow=True)] == [3, 4]
    assert [(asked.key, asked.after) for asked in master.asked(ListEvents)] == [("r-1/a", 2), ("r-1/a", 3)]


# ── workers ───────────────────────────────────────────────────────────────────────────────────────


def workers(*jobs: str, state: str = "DRAINING") -> WorkerList:
    return WorkerList((WorkerStatus("other:1", "ONLINE"), WorkerStatus("w:1", state, used=len(jobs), jobs=jobs)))


def test_a_worker_is_watched_until_it_is_idle(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(ListWorkers, workers("r/a", "r/b"), HangUp(), workers("r/a", "r/b"), workers("r/b"), workers())
    assert [worker.jobs for worker in client.watch_worker("w:1")] == [("r/a", "r/b"), ("r/b",), ()]


def test_a_worker_that_is_gone_is_watched_no_more(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(ListWorkers, workers("r/a"), WorkerList())
    assert [worker.jobs for worker in client.watch_worker("w:1")] == [("r/a",)]


def test_watching_a_worker_may_time_out(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(ListWorkers, workers("r/a"))
    with pytest.raises(WaitTimedOut, match=r"w:1 still runs r/a after 0\.05 s"):
        list(client.watch_worker("w:1", timeout=0.05))


# ── handles ───────────────────────────────────────────────────────────────────────────────────────


def test_a_run_handle_asks_about_its_run(master: ScriptedMaster, client: TitanClient) -> None:
    handle = RunHandle(client, "r-1")
    master.answer(GetRun, DONE_WITH_JOBS)
    master.answer(GetLogs, LogChunk("r-1", "a", 1, 0, b"hello\n", end=True, final=True))
    assert f"{handle}" == "r-1"
    assert handle.status() == "COMPLETED"
    assert handle.result() == client.wait(handle) == DONE_WITH_JOBS
    assert handle.logs() == {"a": "hello\n"}


def test_a_failed_run_names_the_jobs_that_failed(master: ScriptedMaster, client: TitanClient) -> None:
    jobs = (JobStatus("r-1", "a", "DEAD", "exit code 3"), JobStatus("r-1", "b", "CANCELLED", "a is DEAD"))
    failed = RunStatus("r-1", "r", "FAILED", 9, (StateCount("DEAD", 1),), jobs=jobs, final=True)
    master.answer(GetRun, failed)
    with pytest.raises(RunFailed, match=r"run r-1 FAILED: a is DEAD \(exit code 3\)$") as caught:
        RunHandle(client, "r-1").result()
    assert caught.value.status == failed


def test_a_run_is_waited_for_without_its_jobs(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetRun, DONE)
    handle = RunHandle(client, "r-1")
    assert handle.wait(jobs=False) == handle.result(jobs=False) == client.wait_for_run(handle, jobs=False) == DONE
    assert {request.jobs for request in master.asked(GetRun)} == {False}


def test_a_failed_run_that_is_waited_for_without_its_jobs_names_them_all_the_same(
    master: ScriptedMaster, client: TitanClient
) -> None:
    failed = RunStatus("r-1", "r", "FAILED", 9, (StateCount("DEAD", 1),), final=True)
    with_jobs = replace(failed, jobs=(JobStatus("r-1", "a", "DEAD", "exit code 3"),))
    master.answer(GetRun, failed, failed, HangUp(), with_jobs)
    with pytest.raises(RunFailed, match=r"run r-1 FAILED: a is DEAD \(exit code 3\)$") as caught:
        RunHandle(client, "r-1").result(jobs=False)
    assert caught.value.status == with_jobs


def test_a_failed_run_that_somebody_retries_has_the_result_it_gets_then(
    master: ScriptedMaster, client: TitanClient
) -> None:
    failed = RunStatus("r-1", "r", "FAILED", 9, (StateCount("DEAD", 1),), final=True)
    master.answer(GetRun, failed, RUNNING, DONE, DONE_WITH_JOBS)
    assert RunHandle(client, "r-1").result(jobs=False) == DONE_WITH_JOBS


def test_a_job_handle_asks_about_its_job(master: ScriptedMaster, client: TitanClient) -> None:
    handle = JobHandle(client, "r-1", "a")
    master.answer(GetJob, JOB_DONE)
    master.answer(GetLogs, LogChunk("r-1", "a", 1, 0, b"hello\n", end=True, final=True))
    assert (str(handle), handle.key, handle.status()) == ("r-1", "r-1/a", "COMPLETED")
    assert handle.result() == JOB_DONE
    assert handle.logs() == client.fetch_logs(handle) == "hello\n"


def test_a_failed_job_says_why(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetJob, JobStatus("r-1", "a", "DEAD", "exit code 3", final=True))
    with pytest.raises(JobFailed, match="job r-1/a is DEAD: exit code 3"):
        JobHandle(client, "r-1", "a").result()


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────


class Logs:
    """Logs as the real master serves them; each question that may wait finds a piece more than the one before."""

    def __init__(self, master: ScriptedMaster, *attempts: bytes, piece: int = 4) -> None:
        self.attempts = attempts
        self.piece = piece
        self.printed = 0
        self.begun = 1
        master.on(GetLogs, self.serve)

    def serve(self, stream: FrameStream, request: GetLogs) -> LogChunk:
        if request.wait_s:
            self._go_on()
        number = request.attempt or self.begun
        if number > self.begun:
            return LogChunk("r-1", "a", 0, 0)
        log = self.attempts[number - 1]
        here = log if number < self.begun else log[: self.printed]
        offset = request.offset if request.offset >= 0 else max(0, len(here) + request.offset)
        data = here[offset : offset + self.piece]
        end = offset + len(data) == len(log)
        return LogChunk("r-1", "a", number, offset, data, end, final=end and number == len(self.attempts))

    def _go_on(self) -> None:
        self.printed += self.piece
        if self.printed > len(self.attempts[self.begun - 1]) + 3 * self.piece and self.begun < len(self.attempts):
            self.begun, self.printed = self.begun + 1, 0


def test_a_log_is_fetched_to_its_present_end(master: ScriptedMaster, client: TitanClient) -> None:
    logs = Logs(master, "grüße, and more of them\n".encode())
    logs.printed = 11
    assert client.fetch_logs("a") == "grüße, an"
    assert all(request.wait_s == 0 for request in master.asked(GetLogs))


def test_following_goes_on_until_the_job_is_over(master: ScriptedMaster, client: TitanClient) -> None:
    Logs(master, "grüße\nzwei\n\nthe end".encode())
    assert list(client.stream_logs("a")) == ["grüße", "zwei", "", "the end"]


def test_a_retry_is_followed_from_its_first_byte(master: ScriptedMaster, client: TitanClient) -> None:
    Logs(master, b"first try\nfails", b"", b"third try\nworks\n")
    assert list(client.stream_logs("a")) == ["first try", "fails", "third try", "works"]


def test_a_fixed_attempt_is_followed_to_its_end_only(master: ScriptedMaster, client: TitanClient) -> None:
    Logs(master, b"first try\nfails", b"second try\n")
    assert list(client.stream_logs("a", attempt=1)) == ["first try", "fails"]


def test_the_tail_is_the_last_bytes(master: ScriptedMaster, client: TitanClient) -> None:
    logs = Logs(master, b"0123456789", piece=100)
    logs.printed = 10
    assert [chunk.data for chunk in client.log_chunks("a", tail_bytes=3)] == [b"789"]


def test_a_job_that_never_began_has_an_empty_log(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetLogs, LogChunk("r-1", "a", 0, 0, final=True))
    assert client.fetch_logs("a") == ""
    assert list(client.stream_logs("a")) == []


def test_following_begins_before_the_job_does(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(
        GetLogs,
        LogChunk("r-1", "a", 0, 0),
        LogChunk("r-1", "a", 1, 0, b"here\n"),
        LogChunk("r-1", "a", 1, 5, b"", end=True, final=True),
    )
    assert list(client.stream_logs("a")) == ["here"]
    assert [(request.key, request.attempt, request.offset) for request in master.asked(GetLogs)] == [
        ("a", 0, 0),
        ("r-1/a", 0, 0),
        ("r-1/a", 1, 5),
    ]


def test_following_survives_a_master_that_is_away_for_a_moment(master: ScriptedMaster, client: TitanClient) -> None:
    first, last = LogChunk("r-1", "a", 1, 0, b"one\n"), LogChunk("r-1", "a", 1, 4, b"two\n", end=True, final=True)
    master.answer(GetLogs, first, HangUp(), HangUp(), last)
    assert list(client.stream_logs("a")) == ["one", "two"]


def test_a_retry_that_is_long_in_coming_is_waited_for(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(
        GetLogs,
        LogChunk("r-1", "a", 1, 0, b"first\n", end=True),
        LogChunk("r-1", "a", 0, 0),
        LogChunk("r-1", "a", 0, 0),
        LogChunk("r-1", "a", 2, 0, b"second\n", end=True, final=True),
    )
    assert list(client.stream_logs("a")) == ["first", "second"]
    assert [(request.attempt, request.offset) for request in master.asked(GetLogs)] == [
        (0, 0),
        (2, 0),
        (2, 0),
        (2, 0),
    ]


def test_a_job_that_is_cancelled_before_its_retry_is_over(master: ScriptedMaster, client: TitanClient) -> None:
    first, cancelled = LogChunk("r-1", "a", 1, 0, b"one\n", end=True), LogChunk("r-1", "a", 0, 0, final=True)
    master.answer(GetLogs, first, cancelled)
    assert list(client.stream_logs("a")) == ["one"]


def test_logs_of_an_unknown_job_say_so(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetLogs, NotFound("there is no job 'x'"))
    with pytest.raises(NotFound):
        client.fetch_logs("x")
    with pytest.raises(NotFound):
        next(client.stream_logs("x"))
