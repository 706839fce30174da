"""The commands for schedules against a scripted master: what they ask, print and leave, also while they wait."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.protocol import messages as m
from titan_test_suite.pytests.support.scripted_master import ScriptedMaster
from titan_test_suite.pytests.support.titan_calls import RUN, address, run, script
from titan_test_suite.pytests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
NEXT = 1795654800.0  # 2026-11-26 01:00 UTC
BERLIN = m.Timing("0 2 * * *", timezone="Europe/Berlin")
SLOT = 1772413200
RUNS = ("nightly-20260302T010000-8abc", "nightly-20260303T010000-9abc")
PIPELINE = "name: nightly\nschedule: {cron: 0 2 * * *, timezone: Europe/Berlin}\njobs: [{id: a, file: a.py}]\n"


def status(state: str = "ACTIVE", **fields) -> m.ScheduleStatus:
    defaults = {
        "overlap": "skip",
        "catch_up": "last",
        "catch_up_window_s": 604800.0,
        "next_wall": NEXT,
        "job_count": 1,
    }
    return m.ScheduleStatus("nightly", state, BERLIN, **{**defaults, **fields})


def fire(slot: int = SLOT, outcome: str = "RAN", kind: str = "schedule", **fields) -> m.FireStatus:
    return m.FireStatus("nightly", float(slot), kind, outcome, **fields)


@pytest.fixture
def folder(master: ScriptedMaster, tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("print(1)\n")
    (tmp_path / "n.py").write_text("print(2)\n")
    (tmp_path / "p.yaml").write_text(PIPELINE)
    script(master, m.PutSchedule, m.SchedulePut("created", status()))
    return tmp_path


# ── making ────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_is_scheduled(titan, master, folder):
    assert (
        titan(
            *("schedule", "add", "nightly", "a.py", "GPU", "--cron", "0 2 * * *", "--timezone", "Europe/Berlin"),
            *("--jitter", "30s", "--paused", "--on-failure", "n.py", "--on-missed", "https://host/x"),
            *("--retries", "2", "--no-update", "--", "--day", "1"),
        )
        == 0
    )
    assert titan.out == "nightly\n"
    assert titan.err == "created schedule nightly; next: 2026-11-26 02:00 CET (01:00 UTC)\n"
    (request,) = master.asked(m.PutSchedule)
    spec = request.schedule
    assert (spec.name, spec.timing.jitter_s, spec.on_missed.webhook) == ("nightly", 30.0, "https://host/x")
    assert [job.task.asset for job in spec.on_failure.jobs] == ["n.py"]
    (job,) = spec.jobs
    assert (job.job_id, job.requirement, job.retries, job.task.args) == ("a", "GPU", 2, ("--day", "1"))
    assert (request.pause, request.only_new, len(request.contents)) == (True, True, 2)


@pytest.mark.parametrize(
    "line", ["apply p.yaml", "deploy p.yaml", "schedule add p.yaml", "schedule add nightly p.yaml"]
)
def test_a_pipeline_is_scheduled(titan, master, folder, line):
    assert titan(*line.split()) == 0
    assert titan.out == "nightly\n" and titan.err.startswith("created schedule nightly; next: ")
    (request,) = master.asked(m.PutSchedule)
    assert (request.schedule.name, request.schedule.timing) == ("nightly", BERLIN)
    assert not request.only_new


def test_flags_go_before_what_a_pipeline_says(titan, master, folder):
    assert titan("schedule", "add", "p.yaml", "--every", "15m", "--overlap", "queue") == 0
    assert titan("schedule", "add", "other", "p.yaml", "--catch-up", "none") == 0
    first, second = (request.schedule for request in master.asked(m.PutSchedule))
    assert (first.name, first.timing.every_s, first.timing.timezone) == ("nightly", 900.0, "Europe/Berlin")
    assert (first.overlap, second.overlap) == ("queue", "skip")
    assert (second.name, second.timing, second.catch_up) == ("other", BERLIN, "none")


@pytest.mark.parametrize("project", ["true", "false"])
def test_a_file_that_a_flag_names_is_here_and_not_beside_the_pipeline(titan, master, folder, project):
    (folder / "p").mkdir()
    (folder / "p" / "a.py").write_text("print(3)\n")
    (folder / "p" / "p.yaml").write_text(f"project: {project}\n{PIPELINE}")
    assert titan("schedule", "add", "p", "--on-failure", "n.py", "--on-missed", "a.py") == 0
    spec = master.asked(m.PutSchedule)[0].schedule
    for alert, name in ((spec.on_failure, "n"), (spec.on_missed, "a")):
        (job,) = alert.jobs
        assert (job.job_id, job.task.asset, job.task.entry) == (name, f"{name}.py", "")
    assert spec.on_missed.jobs[0].task.sha256 != spec.jobs[0].task.sha256


def test_what_has_changed_is_told(titan, master, folder):
    changes = ("cron: 0 3 * * * -> 0 2 * * *", "+ job load")
    script(master, m.PutSchedule, m.SchedulePut("updated", status("PAUSED"), changes))
    assert titan("apply", "p.yaml") == 0
    assert titan.err.splitlines() == [
        "updated schedule nightly; it is PAUSED; next: 2026-11-26 02:00 CET (01:00 UTC)",
        "  cron: 0 3 * * * -> 0 2 * * *",
        "  + job load",
    ]
    script(master, m.PutSchedule, m.SchedulePut("unchanged", status("FINISHED", next_wall=0.0)))
    assert titan("apply", "p.yaml") == 0
    assert titan.err == "schedule nightly is unchanged; nothing is due any more\n"
    assert titan("apply", "p.yaml", "-q") == 0
    assert (titan.out, titan.err) == ("nightly\n", "")
    assert titan("apply", "p.yaml", "--json") == 0
    record = json.loads(titan.out)
    assert (record["outcome"], record["schedule"]["next_wall"], record["changes"]) == ("unchanged", None, [])


def test_one_that_exists_is_not_changed_if_it_is_not_to_be(titan, master, folder):
    script(master, m.PutSchedule, Conflict("there is a schedule nightly already, and it was not to be changed"))
    assert titan("apply", "p.yaml", "--no-update") == 3
    assert titan.err == "titan: there is a schedule nightly already, and it was not to be changed\n"
    assert master.asked(m.PutSchedule)[0].only_new


# ── looking ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("line", ["schedules", "schedule ls"])
def test_schedules_are_listed(titan, master, line):
    script(master, m.ListSchedules, m.ScheduleList((status(queued=2),)))
    assert titan(*line.split()) == 0
    heading, row = titan.out.splitlines()
    assert heading.split() == ["SCHEDULE", "STATE", "WHEN", "ZONE", "NEXT", "QUEUED", "JOBS"]
    assert row.startswith("nightly   ACTIVE  0 2 * * *  Europe/Berlin  ")
    assert titan(*line.split(), "-q") == 0
    assert titan.out == "nightly\n"
    assert titan(*line.split(), "--json") == 0
    assert json.loads(titan.out)[0]["timing"]["timezone"] == "Europe/Berlin"
    script(master, m.ListSchedules, m.ScheduleList())
    assert titan(*line.split()) == 0
    assert (titan.out, titan.err) == ("", "no schedules\n")


def test_a_schedule_is_shown(titan, master):
    jobs = (m.JobSpec("a", m.Task("a.py")), m.JobSpec("b", m.Task("b.py"), ("a",)))
    script(master, m.GetSchedule, status(jobs=jobs, job_count=2, live=(RUN,)))
    assert titan("schedule", "show", "nightly") == 0
    lines = titan.out.splitlines()
    assert lines[0].split() == ["schedule", "nightly"] and f"running      {RUN}" in lines
    assert [line.split() for line in lines[-2:]] == [["a", "a.py", "GENERAL"], ["b", "b.py", "GENERAL", "a"]]
    assert titan("schedule", "show", "nightly", "-q") == 0
    assert titan.out == "nightly\n"
    assert titan("schedule", "show", "nightly", "--json") == 0
    assert [job["job_id"] for job in json.loads(titan.out)["jobs"]] == ["a", "b"]


def test_when_a_schedule_is_due_next(titan, master):
    script(master, m.GetSchedule, status("PAUSED"))
    assert titan("schedule", "next", "nightly", "-n", "3") == 0
    assert len(titan.out.splitlines()) == 4 and " 02:00 CE" in titan.out
    assert titan.err == "nightly is PAUSED: nothing of this will run until it is resumed\n"


def test_history(titan, master):
    fires = (fire(SLOT + 60, "MISSED", reason="there was no master"), fire(run_id=RUNS[0], run_state="COMPLETED"))
    script(master, m.ListFires, m.FireList(fires))
    assert titan("schedule", "history", "nightly") == 0
    assert [line.split()[2] for line in titan.out.splitlines()[1:]] == ["MISSED", "RAN"]
    assert titan.err == ""
    assert titan("schedule", "history", "nightly", "-q", "--outcome", "ran") == 0
    assert titan.out == f"{RUNS[0]}\n"
    assert master.asked(m.ListFires)[-1].outcome == "RAN"
    assert titan("schedule", "history", "nightly", "-n", "2", "--json") == 0
    assert [item["outcome"] for item in json.loads(titan.out)] == ["MISSED", "RAN"]
    assert titan.err == "the newest 2; -n shows more\n"
    script(master, m.ListFires, m.FireList())
    assert titan("schedule", "history", "nightly") == 0
    assert titan.err == "no such fires\n"


def test_a_run_says_which_schedule_has_started_it(titan, master):
    script(master, m.GetRun, m.RunStatus(RUN, "nightly", "RUNNING", 1, schedule="nightly", scheduled_wall=SLOT))
    assert titan("status", RUN) == 0
    assert titan.out.splitlines()[1].startswith("schedule nightly, due 2026-03-0")
    script(master, m.GetRun, m.RunStatus(RUN, "nightly.on_failure", "RUNNING", 1, schedule="nightly"))
    assert titan("status", RUN) == 0
    assert titan.out.splitlines()[1] == "schedule nightly"


@pytest.mark.parametrize("line", ["show x", "next x", "pause x", "resume x", "trigger x", "rm x", "history x"])
def test_one_that_is_not_there(titan, master, line):
    for request in (m.GetSchedule, m.PauseSchedule, m.TriggerSchedule, m.RemoveSchedule, m.ListFires):
        script(master, request, NotFound("there is no schedule 'x'"))
    assert titan("schedule", *line.split()) == 4
    assert (titan.out, titan.err) == ("", "titan: there is no schedule 'x'\n")


# ── acting ────────────────────────────────────────────────────────────────────────────────────────


def test_pause_and_resume(titan, master):
    script(master, m.PauseSchedule, lambda asked: status() if asked.undo else status("PAUSED", reason=asked.reason))
    assert titan("schedule", "pause", "nightly", "--reason", "moved") == 0
    assert titan.out == "nightly is PAUSED (moved)\n"
    assert titan("schedule", "resume", "nightly") == 0
    assert titan.out == "nightly is ACTIVE; next: 2026-11-26 02:00 CET (01:00 UTC)\n"
    assert titan("schedule", "resume", "nightly", "--json") == 0
    assert json.loads(titan.out)["state"] == "ACTIVE"


def test_rm(titan, master):
    script(master, m.RemoveSchedule, m.Ack("schedule nightly is removed; its runs go on", ("nightly",)))
    assert titan("schedule", "rm", "nightly") == 0
    assert titan.out == "schedule nightly is removed; its runs go on\n"
    assert titan("schedule", "rm", "nightly", "--json") == 0
    assert json.loads(titan.out)["keys"] == ["nightly"]


def test_trigger(titan, master):
    script(master, m.TriggerSchedule, m.Triggered(fire(kind="trigger", run_id=RUN)))
    assert titan("schedule", "trigger", "nightly") == 0
    assert (titan.out, titan.err) == (f"{RUN}\n", f"accepted; follow it with: titan wait {RUN}\n")
    assert titan("schedule", "trigger", "nightly", "--json") == 0
    assert json.loads(titan.out)["run_id"] == RUN
    queued = fire(kind="trigger", outcome="QUEUED", reason="waits for the end of run x")
    script(master, m.TriggerSchedule, m.Triggered(queued))
    assert titan("schedule", "trigger", "nightly") == 0
    assert (titan.out, titan.err) == ("", "queued: waits for the end of run x\n")
    script(master, m.TriggerSchedule, Conflict("run x of schedule nightly still goes on"))
    assert titan("schedule", "trigger", "nightly") == 3


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELLED", 7)])
def test_trigger_and_wait(titan, master, state, code):
    queued = fire(kind="trigger", outcome="QUEUED", reason="waits")
    script(master, m.TriggerSchedule, m.Triggered(queued))
    begun = fire(kind="trigger", run_id=RUN)
    master.answer(m.ListFires, m.FireList((queued,)), m.FireList((begun,)))
    script(master, m.GetRun, run(state))
    assert titan("schedule", "trigger", "nightly", "--wait") == code
    assert titan.out == f"{RUN}\n{RUN} {state}\n"
    assert titan.err.startswith("queued: waits\n")


def test_a_fire_that_loses_its_turn_ends_the_waiting(titan, master):
    script(master, m.TriggerSchedule, m.Triggered(fire(kind="trigger", outcome="QUEUED")))
    script(master, m.ListFires, m.FireList((fire(kind="trigger", outcome="SKIPPED", reason="replaced"),)))
    assert titan("schedule", "trigger", "nightly", "--wait") == 1
    assert titan.out == "no run has begun: SKIPPED, replaced\n"


# ── making up for the past ────────────────────────────────────────────────────────────────────────


def backfilling(master: ScriptedMaster, *answers: m.FireStatus, state: str = "ACTIVE") -> None:
    """Two runs are made up for; what the ledger says of them, in turn."""
    script(master, m.BackfillSchedule, m.Backfilled("2 fires of nightly will be made up for", RUNS))
    script(master, m.GetSchedule, status(state))
    master.answer(m.ListFires, *(m.FireList((answer,)) for answer in answers))


BACKFILL = ("schedule", "backfill", "nightly", "--from", "2026-03-02", "--to", "2026-03-04")


def over(slot: int, run_id: str, state: str = "COMPLETED") -> m.FireStatus:
    return fire(slot, run_id=run_id, run_state=state, finished_wall=9.0)


def test_backfill(titan, master):
    backfilling(master)
    assert titan(*BACKFILL) == 0
    assert titan.out == "2 fires of nightly will be made up for\n"
    assert master.asked(m.BackfillSchedule) == [m.BackfillSchedule("nightly", "2026-03-02", "2026-03-04")]
    assert titan(*BACKFILL, "-q") == 0
    assert titan.out.split() == [*RUNS]
    assert titan(*BACKFILL, "--json") == 0
    assert json.loads(titan.out)["run_ids"] == [*RUNS]
    assert titan("schedule", "backfill", "nightly", "--cancel") == 0
    assert master.asked(m.BackfillSchedule)[-1].cancel


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("FAILED", 1)])
def test_backfill_and_wait(titan, master, state, code):
    later = SLOT + 86400
    answers = (fire(outcome="QUEUED"), over(SLOT, RUNS[0]), fire(later, run_id=RUNS[1], run_state="RUNNING"))
    backfilling(master, *answers, over(later, RUNS[1], state), state="PAUSED")
    assert titan(*BACKFILL, "--wait") == code
    first, paused, *progress = titan.err.splitlines()
    assert first == "2 fires of nightly will be made up for"
    assert paused == "nightly is PAUSED: nothing of this begins until it is resumed"
    assert [line.split("  ", 1)[1] for line in progress] == [
        f"1 of 2 over  {RUNS[0]} COMPLETED",
        f"2 of 2 over  {RUNS[1]} {state}",
    ]
    told = "2 COMPLETED" if code == 0 else "1 COMPLETED, 1 FAILED"
    assert titan.out.startswith(f"2 runs over: {told}, in ")


def test_backfill_and_wait_for_scripts(titan, master):
    backfilling(master, over(SLOT, RUNS[0]), over(SLOT + 86400, RUNS[1]))
    assert titan(*BACKFILL, "--wait", "-q") == 0
    assert (titan.out.split(), titan.err) == ([*RUNS], "")
    backfilling(master, over(SLOT, RUNS[0]), over(SLOT + 86400, RUNS[1]))
    assert titan(*BACKFILL, "--wait", "--json") == 0
    assert [json.loads(line)["run_id"] for line in titan.out.splitlines()] == [*RUNS]


def test_nothing_to_make_up_for_is_not_waited_for(titan, master):
    script(master, m.BackfillSchedule, m.Backfilled("0 fires of nightly will be made up for"))
    assert titan(*BACKFILL, "--wait") == 0
    assert titan.out == "0 fires of nightly will be made up for\n"


@pytest.mark.parametrize(
    ("words", "request_type", "answer", "said"),
    [
        (
            BACKFILL,
            m.BackfillSchedule,
            m.Backfilled("2 fires", RUNS),
            "the backfill goes on; end it with: titan schedule backfill nightly --cancel",
        ),
        (
            ("schedule", "trigger", "nightly"),
            m.TriggerSchedule,
            m.Triggered(fire(outcome="QUEUED")),
            "it stays queued; look at it with: titan schedule history nightly",
        ),
    ],
)
def test_ctrl_c_ends_the_waiting_only(titan, master, tmp_path, words, request_type, answer, said):
    script(master, request_type, answer)
    script(master, m.GetSchedule, status())
    script(master, m.ListFires, m.FireList((fire(outcome="QUEUED"),)))
    command = [
        sys.executable,
        str(ROOT / "titan_sdk" / "titan_cli.py"),
        "--master",
        address(master),
        *words,
        "--wait",
    ]
    waiting = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: len(master.asked(m.ListFires)) > 1, 10)
        waiting.send_signal(signal.SIGINT)
        _, err = waiting.communicate(timeout=10)
    finally:
        waiting.kill()
    assert waiting.returncode == 130
    assert err.splitlines()[-1] == said
