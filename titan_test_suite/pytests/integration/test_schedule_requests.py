"""What a client asks of schedules, of a real master in this process: definitions, changes, refusals, ledgers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.config import MasterConfig
from titan_core.errors import Conflict, InvalidGraph, InvalidRequest, NotFound, Unavailable
from titan_core.master import schedule_requests
from titan_core.master.app import Master
from titan_core.protocol.messages import FireStatus
from titan_core.scheduler.events import RunsExpired, WallClockSet
from titan_sdk import TitanClient, TitanJob
from titan_test_suite.pytests.support.waiting import wait_until

HOUR_S = 3600.0
LONG_AGO, LONG_AWAY = "2020-01-01", "2099-01-01"


@pytest.fixture(params=[False, True], ids=["stored", "in memory"])
def in_memory(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def master(tmp_path: Path, in_memory: bool) -> Iterator[Master]:
    running = Master(MasterConfig(home=tmp_path / "home", port=0, in_memory=in_memory))
    running.start()
    yield running
    running.stop()
    assert running.join()


@pytest.fixture
def client(master: Master, tmp_path: Path) -> Iterator[TitanClient]:
    with TitanClient("127.0.0.1", master.port, home=tmp_path / "home") as connected:
        yield connected


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "etl.py"
    path.write_text("print('one')\n")
    return path


def job(script: Path, **fields: object) -> TitanJob:
    return TitanJob("etl", script, **fields)


def lines(client: TitanClient, name: str = "nightly", **asked: object) -> list[FireStatus]:
    return list(client.schedule_history(name, **asked))


# ── definitions ───────────────────────────────────────────────────────────────────────────────────


def test_made_shown_and_removed(client: TitanClient, script: Path) -> None:
    put = client.schedule("nightly", job(script, args="--day {scheduled_for}"), cron="0 2 * * *")
    assert (put.outcome, put.changes, put.schedule.state) == ("created", (), "ACTIVE")
    status = client.get_schedule("nightly")
    assert (status.timing.cron, status.overlap, status.catch_up) == ("0 2 * * *", "skip", "last")
    assert status.next_wall > time.time() and status.next_wall % HOUR_S == 0
    assert [(one.job_id, one.task.args) for one in status.jobs] == [("etl", ("--day", "{scheduled_for}"))]
    assert [one.name for one in client.schedules()] == ["nightly"] and client.schedules()[0].jobs == ()
    client.remove_schedule("nightly")
    assert client.schedules() == ()


def test_the_same_again_is_unchanged_and_another_is_told_line_by_line(client: TitanClient, script: Path) -> None:
    def put(args: str = "", **fields: object) -> tuple[str, list[str]]:
        made = client.schedule("nightly", job(script, args=args, retries=2 if args else 0), **fields)
        return made.outcome, list(made.changes)

    assert put(every="1h") == ("created", [])
    assert put(every="1h") == ("unchanged", [])
    before = client.get_schedule("nightly").next_wall
    assert put(every="1h", overlap="queue") == ("updated", ["overlap: skip -> queue"])
    assert client.get_schedule("nightly").next_wall == before, "with the same timing it is due at the same times"
    assert put("--all", every="1h", overlap="queue") == (
        "updated",
        ["job etl: retries: 0 -> 2", "job etl: args: nothing -> --all"],
    )
    script.write_text("print('two')\n")
    outcome, changes = put("--all", every="1h", overlap="queue")
    assert outcome == "updated" and len(changes) == 1 and changes[0].startswith("job etl: etl.py changed (")
    assert put("--all", cron="@daily")[1] == [
        "cron: nothing -> @daily",
        "every: 1h -> nothing",
        "overlap: queue -> skip",
    ]
    assert client.get_schedule("nightly").revision == 5


def test_jobs_that_come_and_go(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", [job(script), TitanJob("load", script, parents="etl")], every="1h")
    put = client.schedule("nightly", [job(script), TitanJob("report", script, parents="etl")], every="1h")
    assert list(put.changes) == ["- job load", "+ job report"]


def test_alerts_in_the_changes(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", job(script), every="1h", on_failure="http://localhost:1/a?key=1")
    put = client.schedule("nightly", job(script), every="1h", on_failure=job(script), on_missed="https://x.y/z")
    assert put.changes[0] == "on_missed: nothing -> https://x.y/z"
    assert put.changes[1].startswith("on_failure: http://localhost:1/a?key=1 -> job etl (etl.py ")


def test_paused_when_it_is_made_and_as_it_was_when_nothing_is_said(client: TitanClient, script: Path) -> None:
    assert client.schedule("nightly", job(script), every="1h", paused=True).schedule.state == "PAUSED"
    assert client.schedule("nightly", job(script), every="1h").outcome == "unchanged"
    assert client.schedule("nightly", job(script), every="2h").schedule.state == "PAUSED"
    put = client.schedule("nightly", job(script), every="2h", paused=False)
    assert (put.outcome, put.changes, put.schedule.state) == ("updated", ("paused: true -> false",), "ACTIVE")
    assert client.pause_schedule("nightly", "a holiday").reason == "a holiday"
    assert client.resume_schedule("nightly").state == "ACTIVE"


def test_a_definition_keeps_the_content_it_was_made_with(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", job(script), every="1h")
    script.unlink()
    fire = client.trigger_schedule("nightly")
    assert fire.outcome == "RAN" and client.run(fire.run_id).schedule == "nightly"


# ── refused, and nothing stored ───────────────────────────────────────────────────────────────────

REFUSED: list[tuple[dict[str, object], str]] = [
    ({"cron": "0 0 31 2 *"}, "no such day|never"),
    ({"cron": "61 * * * *"}, "minute"),
    ({"cron": "0 25 * * *"}, "hour"),
    ({"cron": "0 0 * * * *"}, "seconds"),
    ({"cron": "0 0 * * *", "timezone": "Europe/Berln"}, "Europe/Berlin"),
    ({"every": "0s"}, "every"),
    ({"every": 0.5}, "every"),
    ({"at": LONG_AGO}, "passed"),
    ({"cron": "@daily", "start": "2030-01-01", "end": "2029-01-01"}, "end"),
    ({"cron": "@daily", "end": LONG_AGO}, "end"),
    ({"cron": "@daily", "every": "1h"}, "cron"),
    ({}, "cron"),
    ({"every": "1h", "overlap": "maybe"}, "overlap"),
    ({"every": "1h", "catch_up": "some"}, "catch_up"),
    ({"every": "1h", "catch_up_window": -1}, "catch_up_window"),
    ({"every": "1h", "jitter": -1}, "jitter"),
    ({"every": "1h", "on_failure": "ftp://x"}, "on_failure"),
]


@pytest.mark.parametrize(("fields", "sentence"), REFUSED, ids=[str(fields) for fields, _ in REFUSED])
def test_refused(client: TitanClient, script: Path, fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        client.schedule("nightly", job(script), **fields)
    assert client.schedules() == ()


def test_refused_for_its_jobs(client: TitanClient, script: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no file 'nowhere"):
        client.schedule("nightly", TitanJob("etl", "nowhere.py"), every="1h")
    with pytest.raises(InvalidGraph, match="etl"):
        client.schedule("nightly", [job(script, parents="load"), TitanJob("load", script, parents="etl")], every="1h")
    with pytest.raises(InvalidGraph, match="nobody"):
        client.schedule("nightly", job(script, parents="nobody"), every="1h")
    with pytest.raises(InvalidRequest, match="of another run"):
        client.schedule("nightly", job(script, parents="some-run/job"), every="1h")
    with pytest.raises(InvalidRequest, match="runs alone"):
        client.schedule("nightly", job(script), every="1h", on_failure=TitanJob("tell", script, parents="etl"))
    with pytest.raises(InvalidRequest, match="name"):
        client.schedule("x" * 81, job(script), every="1h")
    assert client.schedules() == ()


def test_a_name_that_exists_is_not_updated_if_that_is_not_wanted(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", job(script), every="1h", update=False)
    with pytest.raises(Conflict, match="there is a schedule nightly already"):
        client.schedule("nightly", job(script), every="2h", update=False)
    assert client.get_schedule("nightly").timing.every_s == HOUR_S


def test_a_wrong_definition_leaves_the_old_one(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", job(script), every="1h")
    with pytest.raises(InvalidRequest):
        client.schedule("nightly", job(script), at=LONG_AGO)
    assert client.get_schedule("nightly").revision == 1


def test_who_is_not_there(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", job(script), every="1h")
    for ask in (
        client.get_schedule,
        client.pause_schedule,
        client.resume_schedule,
        client.trigger_schedule,
        client.remove_schedule,
        client.cancel_backfill,
        client.schedule_history,
        lambda name: client.backfill_schedule(name, LONG_AGO, LONG_AWAY),
    ):
        with pytest.raises(NotFound, match="there is no schedule 'nightl'; did you mean nightly"):
            ask("nightl")


# ── fires ─────────────────────────────────────────────────────────────────────────────────────────


def test_it_fires_and_tells(client: TitanClient, script: Path) -> None:
    client.schedule("tick", job(script), every=1, overlap="skip")
    wait_until(lambda: len(lines(client, "tick")) >= 2, explain=lambda: lines(client, "tick"))
    skipped, *_, ran = lines(client, "tick")
    assert (ran.outcome, ran.run_state, ran.kind) == ("RAN", "RUNNING", "schedule")
    assert 0 <= ran.decided_wall - ran.slot_wall < 1 and ran.run_id.startswith("tick-")
    assert (skipped.outcome, skipped.reason) == ("SKIPPED", f"run {ran.run_id} still goes on")
    status = client.get_schedule("tick")
    assert status.live == (ran.run_id,) and status.last[0].slot_wall >= skipped.slot_wall
    run = client.run(ran.run_id)
    assert (run.schedule, run.scheduled_wall) == ("tick", ran.slot_wall)
    client.remove_schedule("tick")
    client.cancel(ran.run_id)
    wait_until(lambda: client.runs()[0].state != "RUNNING", explain=lambda: client.runs())
    assert client.runs()[0].schedule == "tick"


def test_once(client: TitanClient, script: Path) -> None:
    at = int(time.time()) + 2
    put = client.schedule("once", job(script), at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)))
    assert put.schedule.next_wall == at
    wait_until(lambda: client.get_schedule("once").state == "FINISHED", explain=lambda: client.get_schedule("once"))
    (line,) = lines(client, "once")
    assert (line.slot_wall, line.outcome) == (at, "RAN")
    assert client.schedule("once", job(script), at=put.schedule.timing.at).outcome == "unchanged"


def test_pages_of_a_ledger_lose_nothing(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", job(script), every="1h", overlap="allow")
    for _ in range(7):
        client.trigger_schedule("nightly")
    every = lines(client)
    assert len(every) == 7 == len({line.slot_wall for line in every})
    assert lines(client, limit=3) == every[:3]
    assert lines(client, before=every[2].slot_wall) == every[3:]
    assert lines(client, outcome="MISSED") == []
    with pytest.raises(InvalidRequest, match="there are QUEUED, RAN"):
        lines(client, outcome="DONE")


def test_backfill(client: TitanClient, script: Path) -> None:
    client.schedule("nightly", job(script), every="1h", start="2026-01-01", overlap="queue")
    asked = client.backfill_schedule("nightly", "2026-01-01T01:00", "2026-01-01T03:00")
    assert asked.text == "3 fires of nightly will be made up for" and len(asked.run_ids) == 3
    assert [line.outcome for line in lines(client)] == ["QUEUED", "QUEUED", "RAN"]
    assert all(line.made_up for line in lines(client))
    again = client.backfill_schedule("nightly", "2026-01-01T00:00", "2026-01-01T03:30")
    assert again.text == "1 fire of nightly will be made up for, 3 fires ran, or wait, already"
    assert client.cancel_backfill("nightly").text == "3 fires of nightly will not be made up for"
    with pytest.raises(Conflict, match="nothing waits"):
        client.cancel_backfill("nightly")


@pytest.mark.parametrize(
    ("first", "last", "sentence"),
    [
        ("2026-01-02", "2026-01-01", "is later than"),
        ("yesterday", "2026-01-01", "yesterday"),
        (LONG_AGO, "2026-01-31", "more than 1000"),
        ("2025-01-01", "2025-02-01", "was not due between"),
        (LONG_AWAY, "2099-02-01", "or not yet"),
    ],
)
def test_a_backfill_that_can_not_be(client: TitanClient, script: Path, first: str, last: str, sentence: str) -> None:
    client.schedule("nightly", job(script), every="10m", start="2026-01-01")
    with pytest.raises(InvalidRequest, match=sentence):
        client.backfill_schedule("nightly", first, last)
    assert lines(client) == []


def test_what_ran_does_not_run_again_even_of_a_namesake(client: TitanClient, script: Path) -> None:
    span = "2026-01-01T01:00", "2026-01-01T02:00"
    client.schedule("nightly", job(script), every="1h", start="2026-01-01", overlap="allow")
    assert len(client.backfill_schedule("nightly", *span).run_ids) == 2
    client.remove_schedule("nightly")
    client.schedule("nightly", job(script), every="1h", start="2026-01-01", overlap="allow")
    again = client.backfill_schedule("nightly", *span)
    assert again.text == "0 fires of nightly will be made up for, 2 fires ran, or wait, already"
    assert again.run_ids == ()


def test_a_run_that_was_deleted_has_run_all_the_same(master: Master, client: TitanClient, script: Path) -> None:
    """Its id is not given a second time: workers may be away that are still to be told to forget it."""
    span = "2026-01-01T01:00", "2026-01-01T01:00"
    client.schedule("nightly", job(script), every="1h", start="2026-01-01", overlap="allow")
    (run_id,) = client.backfill_schedule("nightly", *span).run_ids
    client.cancel(run_id)
    master.engine.submit(RunsExpired((run_id,)))
    client.remove_schedule("nightly")
    client.schedule("nightly", job(script), every="1h", start="2026-01-01", overlap="allow")
    assert client.backfill_schedule("nightly", *span).run_ids == ()


def test_a_full_disk(master: Master, client: TitanClient, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room() -> None:
        raise Unavailable("there is no room on the disk")

    client.schedule("tick", job(script), every=1)
    monkeypatch.setattr(master._clock_watcher, "_check_room", no_room)
    wait_until(lambda: lines(client, "tick", outcome="FAILED"), explain=lambda: lines(client, "tick"))
    assert lines(client, "tick", outcome="FAILED")[0].reason == "there is no room on the disk"


def test_the_limits_of_one_answer(client: TitanClient, script: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_requests, "SCHEDULES_AT_ONCE", 3)
    for number in range(8):
        client.schedule(f"s{number}", job(script), every="1h")
    assert [one.name for one in client.schedules()] == [f"s{number}" for number in range(8)]


# ── the clock ─────────────────────────────────────────────────────────────────────────────────────


def test_the_clock_is_set(
    master: Master, client: TitanClient, script: Path, monkeypatch: pytest.MonkeyPatch, in_memory: bool
) -> None:
    """Forward over two slots, and back again; the machine's clock itself is left alone.

    A master that keeps no ledger can not tell which slots have run: then none of them comes again."""
    clock = master.engine.clock
    client.schedule("nightly", job(script), every="1h", overlap="allow", catch_up="last")
    true_offset = clock.offset_s
    first = client.get_schedule("nightly").next_wall
    monkeypatch.setattr(clock, "offset_s", lambda: true_offset() + 2.5 * HOUR_S)
    master._wall_clock.follow()
    assert [(line.slot_wall, line.outcome) for line in lines(client)] == [
        (first + HOUR_S, "RAN"),
        (first, "MISSED"),
    ]
    assert client.get_schedule("nightly").next_wall == first + 2 * HOUR_S
    monkeypatch.setattr(clock, "offset_s", true_offset)
    master._wall_clock.follow()
    missed = [] if not in_memory else [(first, "MISSED")]
    assert [(line.slot_wall, line.outcome) for line in lines(client)] == [(first + HOUR_S, "RAN"), *missed]
    assert client.get_schedule("nightly").next_wall == (first if not in_memory else first + 2 * HOUR_S)
    master._wall_clock.follow()
    assert len(lines(client)) == 1 + len(missed)


def test_the_clock_watcher_looks_at_the_clock_before_it_fires(
    master: Master, client: TitanClient, script: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has told that the clock was set back by an hour: nothing fires an hour early all the same."""
    clock = master.engine.clock
    true_offset = clock.offset_s
    at = int(time.time()) + 2
    client.schedule("once", job(script), at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)))
    monkeypatch.setattr(clock, "offset_s", lambda: true_offset() - HOUR_S)
    wait_until(
        lambda: abs(master.engine.read(lambda state: state.offset_s) - clock.offset_s()) < 0.1,
        explain=lambda: lines(client, "once"),
    )
    assert lines(client, "once") == []
    master.engine.submit(WallClockSet(true_offset()))
    monkeypatch.setattr(clock, "offset_s", true_offset)
    wait_until(lambda: [line.outcome for line in lines(client, "once")] == ["RAN"], explain=lambda: lines(client))
