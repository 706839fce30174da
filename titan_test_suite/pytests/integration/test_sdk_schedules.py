"""The client's requests for schedules against a scripted master: what is sent, read page by page, and waited for."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from titan_core.errors import AssetMissing, Conflict, ConnectionLost, InvalidRequest, NotFound
from titan_core.protocol import messages as m
from titan_sdk import PipelineError, TitanClient, TitanJob, WaitTimedOut
from titan_test_suite.pytests.support.scripted_master import HangUp, ScriptedMaster
from titan_test_suite.pytests.support.titan_calls import script

STATUS = m.ScheduleStatus("nightly", "ACTIVE", m.Timing("0 2 * * *"), next_wall=1.0)
PUT = m.SchedulePut("created", STATUS)
YAML = """\
name: nightly
schedule:
  cron: 0 2 * * *
  on_failure: {job: {file: n.py}}
jobs:
- id: a
  file: a.py
"""


def fire(slot: int, outcome: str = "RAN", kind: str = "schedule", **fields) -> m.FireStatus:
    return m.FireStatus("nightly", float(slot), kind, outcome, **fields)


@pytest.fixture
def folder(master: ScriptedMaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With two files; the master accepts every schedule."""
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "n.py").write_text("print(2)\n")
    monkeypatch.chdir(tmp_path)
    master.answer(m.PutSchedule, PUT)
    return tmp_path


# ── making ────────────────────────────────────────────────────────────────────────────────────────


def test_a_schedule_travels_with_its_files(master: ScriptedMaster, client: TitanClient, folder: Path) -> None:
    jobs = [TitanJob("a", "a.py"), TitanJob("b", "perm.py", parents=["a"])]
    put = client.schedule("nightly", jobs, every="15m", on_failure=TitanJob("n", "n.py"), paused=True)
    assert put == PUT
    (request,) = master.asked(m.PutSchedule)
    assert request.schedule.timing == m.Timing(every_s=900.0)
    assert [content.data for content in request.contents] == [b"print(1)\n", b"print(2)\n"]
    assert [bool(job.task.sha256) for job in request.schedule.jobs] == [True, False]
    assert (request.pause, request.resume, request.only_new) == (True, False, False)


def test_content_that_was_sent_is_left_out_until_it_is_missed(
    master: ScriptedMaster, client: TitanClient, folder: Path
) -> None:
    for _ in range(2):
        client.schedule("nightly", TitanJob("a", "a.py"), cron="0 2 * * *", paused=False, update=False)
    master.answer(m.PutSchedule, AssetMissing("gone"), PUT)
    client.schedule("nightly", TitanJob("a", "a.py"), cron="0 2 * * *")
    requests = master.asked(m.PutSchedule)
    assert [len(request.contents) for request in requests] == [1, 0, 0, 1]
    assert (requests[0].pause, requests[0].resume, requests[0].only_new) == (False, True, True)
    assert (requests[2].pause, requests[2].resume, requests[2].only_new) == (False, False, False)


def test_a_large_file_is_uploaded_before(master: ScriptedMaster, client: TitanClient, folder: Path) -> None:
    (folder / "big.py").write_bytes(b"#" * 300_000)
    master.answer(m.UploadAsset, m.UploadReply(have=True))
    client.schedule("nightly", TitanJob("big", "big.py"), cron="0 2 * * *")
    assert [type(request) for request in master.requests] == [m.UploadAsset, m.PutSchedule]
    assert master.asked(m.PutSchedule)[0].contents == ()


def test_a_pipeline_with_a_schedule_is_applied(master: ScriptedMaster, client: TitanClient, folder: Path) -> None:
    (folder / "p.yaml").write_text(YAML)
    assert client.apply("p.yaml") == PUT
    assert client.apply("p.yaml", update=False) == PUT
    first, second = master.asked(m.PutSchedule)
    assert (first.schedule.name, first.schedule.timing.cron) == ("nightly", "0 2 * * *")
    assert [job.job_id for job in first.schedule.on_failure.jobs] == ["n"]
    assert (first.only_new, second.only_new) == (False, True)
    assert not master.asked(m.SubmitRun)


def test_what_is_said_beside_a_pipeline_goes_before_it(
    master: ScriptedMaster, client: TitanClient, folder: Path
) -> None:
    (folder / "p.yaml").write_text(YAML)
    client.schedule("other", "p.yaml", every=60, overlap="queue")
    spec = master.asked(m.PutSchedule)[0].schedule
    assert (spec.name, spec.timing, spec.overlap) == ("other", m.Timing(every_s=60.0), "queue")
    assert [job.job_id for job in spec.on_failure.jobs] == ["n"]


def test_a_project_is_sent_as_one_archive(master: ScriptedMaster, client: TitanClient, folder: Path) -> None:
    (folder / "p.yaml").write_text("project: true\n" + YAML)
    client.apply("p.yaml")
    (request,) = master.asked(m.PutSchedule)
    tasks = [request.schedule.jobs[0].task, request.schedule.on_failure.jobs[0].task]
    assert [(task.asset, task.entry) for task in tasks] == [("nightly.zip", "a.py"), ("nightly.zip", "n.py")]
    assert len(request.contents) == 1


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("a.py", "./b.py"), r":7: job 'a': there is no file '\./b\.py'"),
        (("n.py", "./b.py"), r":4: on_failure: job 'b': there is no file '\./b\.py'"),
        (("a.py", "a.py\n  parents: etl-1/x"), r":8: job 'a': its parent 'etl-1/x' is of another run"),
    ],
)
def test_what_is_wrong_gets_its_line(
    master: ScriptedMaster, client: TitanClient, folder: Path, change: tuple[str, str], problem: str
) -> None:
    (folder / "p.yaml").write_text(YAML.replace(f"file: {change[0]}", f"file: {change[1]}"))
    with pytest.raises(PipelineError, match=problem):
        client.apply("p.yaml")
    assert not master.requests


@pytest.mark.parametrize(
    ("refusal", "line"),
    [
        (InvalidRequest("cron '0 2 * * *' is not for today", field="cron"), 3),
        (InvalidRequest("b.py in perm_files/ is empty", job="a", field="file"), 7),
        (NotFound("on_failure: there is no file", job="n", field="file", alert="on_failure"), 4),
    ],
)
def test_what_the_master_refuses_gets_its_line(
    master: ScriptedMaster, client: TitanClient, folder: Path, refusal: InvalidRequest | NotFound, line: int
) -> None:
    (folder / "p.yaml").write_text(YAML)
    master.answer(m.PutSchedule, refusal)
    with pytest.raises(PipelineError, match=re.escape(f"p.yaml:{line}: {refusal.message}")):
        client.apply("p.yaml")


def test_a_schedule_that_exists_stays_as_it_is(master: ScriptedMaster, client: TitanClient, folder: Path) -> None:
    master.answer(m.PutSchedule, Conflict("there is a schedule nightly already"))
    with pytest.raises(Conflict):
        client.schedule("nightly", TitanJob("a", "a.py"), cron="0 2 * * *", update=False)


def test_a_schedule_is_sent_once(master: ScriptedMaster, client: TitanClient, folder: Path) -> None:
    script(master, m.PutSchedule, HangUp())
    with pytest.raises(ConnectionLost):
        client.schedule("nightly", TitanJob("a", "a.py"), cron="0 2 * * *")
    assert len(master.asked(m.PutSchedule)) == 1


# ── asking and changing ───────────────────────────────────────────────────────────────────────────


def test_requests_and_their_answers(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(m.ListSchedules, m.ScheduleList((STATUS,)))
    master.answer(m.GetSchedule, STATUS)
    master.answer(m.PauseSchedule, STATUS)
    master.answer(m.RemoveSchedule, m.Ack("removed", ("nightly",)))
    master.answer(m.TriggerSchedule, m.Triggered(fire(5, kind="trigger", run_id="r")))
    master.answer(m.BackfillSchedule, m.Backfilled("2 fires", ("r-1", "r-2")))
    assert client.schedules() == (STATUS,)
    assert client.get_schedule("nightly") == client.pause_schedule("nightly", "moved") == STATUS
    assert client.resume_schedule("nightly") == STATUS
    assert client.remove_schedule("nightly").text == "removed"
    assert client.trigger_schedule("nightly").run_id == "r"
    assert client.backfill_schedule("nightly", "2026-01-01", datetime(2026, 1, 2, 3, tzinfo=UTC)).run_ids
    assert client.cancel_backfill("nightly").text == "2 fires"
    assert master.requests == [
        m.ListSchedules(),
        m.GetSchedule("nightly"),
        m.PauseSchedule("nightly", reason="moved"),
        m.PauseSchedule("nightly", undo=True),
        m.RemoveSchedule("nightly"),
        m.TriggerSchedule("nightly"),
        m.BackfillSchedule("nightly", "2026-01-01", "2026-01-02T03:00:00+00:00"),
        m.BackfillSchedule("nightly", cancel=True),
    ]
    with pytest.raises(InvalidRequest, match="first must be an instant"):
        client.backfill_schedule("nightly", 5, "2026-01-01")  # type: ignore[arg-type]


def test_what_is_due_next_is_worked_out_here(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(m.GetSchedule, STATUS)
    found = client.next_fires("nightly", 3)
    assert [due.local.hour for due in found] == [2, 2, 2]
    assert found[1].slot - found[0].slot == 86400
    master.answer(m.GetSchedule, m.ScheduleStatus("once", "FINISHED", m.Timing(at="2020-01-01")))
    assert client.next_fires("once") == []


def ledger(master: ScriptedMaster, *fires: m.FireStatus, most: int = 4) -> None:
    """Newest first; an answer has at most `most` lines, but the last slot whole."""

    def page(request: m.ListFires) -> m.FireList:
        fits = [item for item in fires if not request.before_wall or item.slot_wall < request.before_wall]
        fits = [item for item in fits if request.outcome in ("", item.outcome)]
        shown = fits[: min(most, request.limit)]
        shown += [item for item in fits[len(shown) :] if shown and item.slot_wall == shown[-1].slot_wall]
        return m.FireList(tuple(shown), more=len(fits) > len(shown))

    script(master, m.ListFires, page)


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 9, 10, 50])
def test_history_is_read_page_by_page(master: ScriptedMaster, client: TitanClient, limit: int) -> None:
    fires = [fire(slot, kind=kind) for slot in (9, 8, 7, 6, 5) for kind in ("schedule", "trigger")]
    ledger(master, *fires, most=3)
    assert client.schedule_history("nightly", limit) == tuple(fires[:limit])
    assert all(request.limit <= max(limit, 1) for request in master.asked(m.ListFires))


def test_only_a_part_of_the_history(master: ScriptedMaster, client: TitanClient) -> None:
    fires = [fire(9), fire(8, "MISSED"), fire(7, "MISSED"), fire(6)]
    ledger(master, *fires)
    assert client.schedule_history("nightly", outcome="MISSED") == tuple(fires[1:3])
    assert client.schedule_history("nightly", before=8.0) == tuple(fires[2:])
    assert client.schedule_history("nightly", before=datetime.fromtimestamp(7, UTC)) == (fires[3],)
    ledger(master)
    assert client.schedule_history("nightly") == ()


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def becoming(master: ScriptedMaster, *fires: m.FireStatus) -> None:
    """A line of the ledger is this, then that; the last for ever."""
    master.answer(m.ListFires, *(m.FireList((item,)) for item in fires))


def test_a_fire_that_waits_begins(master: ScriptedMaster, client: TitanClient) -> None:
    queued, begun = fire(5, "QUEUED", "trigger"), fire(5, "RAN", "trigger", run_id="r")
    becoming(master, queued, queued, begun)
    assert client.wait_fire(queued) == begun
    assert master.asked(m.ListFires)[0] == m.ListFires("nightly", 1, 6.0)


def test_a_fire_that_waits_may_lose_its_turn(master: ScriptedMaster, client: TitanClient) -> None:
    becoming(master, fire(5, "SKIPPED", reason="replaced"))
    assert client.wait_fire(fire(5, "QUEUED")).reason == "replaced"
    becoming(master, fire(4))
    gone = client.wait_fire(fire(5, "QUEUED", run_id="r"))
    assert (gone.outcome, gone.reason, gone.run_id) == ("SKIPPED", "it does not wait any more", "r")


def test_waiting_for_a_fire_has_an_end(master: ScriptedMaster, client: TitanClient) -> None:
    becoming(master, fire(5, "QUEUED"))
    with pytest.raises(WaitTimedOut, match=r"after 0\.1 s, the fire of nightly is still QUEUED"):
        client.wait_fire(fire(5, "QUEUED"), timeout=0.1)


def test_the_runs_of_a_backfill_are_waited_for(master: ScriptedMaster, client: TitanClient) -> None:
    slots = [1772413200, 1772499600]  # 2026-03-02 and 03, 01:00 UTC
    run_ids = ["nightly-20260302T010000-8abc", "nightly-20260303T010000-9abc"]
    over = {"run_state": "COMPLETED", "finished_wall": 9.0}
    becoming(
        master,
        fire(slots[0], "QUEUED"),
        fire(slots[0], run_id=run_ids[0], run_state="RUNNING"),
        fire(slots[0], run_id=run_ids[0], **over),
        fire(slots[1], "SKIPPED", reason="its backfill was cancelled"),
    )
    found = list(client.watch_fires("nightly", run_ids))
    assert [(item.run_id, item.outcome, item.run_state) for item in found] == [
        (run_ids[0], "RAN", "COMPLETED"),
        (run_ids[1], "SKIPPED", ""),
    ]


def test_only_runs_of_the_schedule_can_be_waited_for(client: TitanClient) -> None:
    with pytest.raises(InvalidRequest, match="'etl-x' is not a run of schedule 'nightly'"):
        next(client.watch_fires("nightly", ["etl-x"]))
