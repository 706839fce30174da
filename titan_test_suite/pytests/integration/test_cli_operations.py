"""The commands of operations against a scripted master: what they ask, print and leave, also when it goes wrong."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.net.stream import FrameStream
from titan_core.protocol import messages as m
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Flag, encode_frame
from titan_test_suite.pytests.support.scripted_master import HangUp, ScriptedMaster, send
from titan_test_suite.pytests.support.titan_calls import KEY, RUN, address, job, run, script
from titan_test_suite.pytests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
MORE = Flag.BINARY | Flag.MORE


def start(master: ScriptedMaster, *words: str, **options) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(ROOT / "titan_sdk" / "titan_cli.py"), "--master", address(master), *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, **options)


def names_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


# ── retrying ──────────────────────────────────────────────────────────────────────────────────────


def test_retry_takes_a_key_or_all_dead(titan, master):
    keys = (KEY, f"{RUN}/load")
    script(master, m.RetryJob, lambda asked: m.Ack("they run again", keys if asked.every_dead else keys[:1]))
    assert titan("retry", "--all-dead") == 0
    assert titan.out == "they run again\n"
    assert titan("retry", "--all-dead", "-q") == 0
    assert titan.out.split() == list(keys)
    assert titan("retry", "extract", "--json") == 0
    assert json.loads(titan.out) == {"message": "they run again", "keys": [KEY]}
    asked = len(master.requests)
    for words in ((), ("extract", "--all-dead")):
        assert titan("retry", *words) == 2
        assert "--all-dead" in titan.err
    assert len(master.requests) == asked


def test_dlq(titan, master):
    attempts = (m.AttemptStatus(1, "host:1", "FAILED", 9), m.AttemptStatus(2, "host:2", "FAILED", 9))
    died = job(
        "load", "DEAD", finished_wall=5.0, exit_code=9, worker="host:2", reason="exit code 9", attempts=attempts
    )
    script(master, m.ListJobs, m.JobList((job("extract", "DEAD", finished_wall=2.0), died), 7))
    assert titan("dlq", "--limit", "2") == 0
    assert master.requests == [m.ListJobs(2, "DEAD")]
    heading, first, second = titan.out.splitlines()
    assert heading.split() == ["JOB", "DIED", "ATTEMPTS", "EXIT", "WORKER", "REASON"]
    assert first.startswith(f"{RUN}/load ") and first.split()[-5:] == ["9", "host:2", "exit", "code", "9"]
    assert second.startswith(KEY)
    assert "2 of 7 dead jobs; -n shows more" in titan.err and "titan retry JOB" in titan.err
    assert titan("dlq", "-q") == 0
    assert titan.out.split() == [f"{RUN}/load", KEY] and titan.err == ""
    assert titan("dlq", "--json") == 0
    assert [len(found["attempts"]) for found in json.loads(titan.out)] == [2, 0]
    for limit in ("0", "-1", "many"):
        with pytest.raises(SystemExit) as left:
            titan("dlq", "-n", limit)
        assert left.value.code == 2


# ── what happened ─────────────────────────────────────────────────────────────────────────────────

EVENTS = m.EventList(
    RUN,
    (
        m.JobEvent(1, 1.0, "extract", "BLOCKED", "QUEUED", "ready"),
        m.JobEvent(2, 2.0, "extract", "QUEUED", "RUNNING", "", 1, "host:1"),
        m.JobEvent(3, 3.0, "extract", "RUNNING", "RUNNING", "being \x1b[2Jstopped", 1, "host:1"),
    ),
)


def test_events_are_lines(titan, master):
    script(master, m.GetRun, run())
    script(master, m.ListEvents, EVENTS)
    assert titan("events", "last") == 0
    assert [line.split("  ")[1:] for line in titan.out.splitlines()] == [
        ["extract", "BLOCKED → QUEUED", "ready"],
        ["extract", "QUEUED → RUNNING", "attempt 1", "host:1"],
        ["extract", "RUNNING", "attempt 1", "host:1", "being \\x1b[2Jstopped"],
    ]
    assert titan("events", "last", "--json") == 0
    first = json.loads(titan.out.splitlines()[0])
    assert (first["number"], first["before"], first["after"], first["wall"]) == (1, "BLOCKED", "QUEUED", 1.0)
    assert titan("events", "last", "-q") == 0
    assert titan.out == "extract\n" * 3


def test_events_of_nothing(titan, master):
    script(master, m.GetRun, NotFound("there is no run 'x'"))
    script(master, m.GetJob, NotFound("there is no job 'x'"))
    assert titan("events", "x") == 4
    assert titan.err == "titan: there is no job 'x'\n"
    with pytest.raises(SystemExit) as left:
        titan("events", "")
    assert left.value.code == 2


# ── draining ──────────────────────────────────────────────────────────────────────────────────────


def worker(*jobs: str, services: tuple[str, ...] = ()) -> m.WorkerList:
    return m.WorkerList((m.WorkerStatus("host:8081", "DRAINING", used=len(jobs), jobs=jobs, services=services),))


def test_drain_and_undo(titan, master):
    script(master, m.DrainWorker, m.Ack("host:8081 gets no more jobs", ("host:8081",)))
    assert titan("drain", "8081") == 0
    assert titan.out == "host:8081 gets no more jobs\n"
    assert titan("drain", "8081", "--undo", "--wait", "-q") == 0
    assert titan.out == "host:8081\n"
    assert master.requests == [m.DrainWorker("8081"), m.DrainWorker("8081", undo=True)]


def test_drain_waits_for_jobs_and_tells_of_services(titan, master):
    script(master, m.DrainWorker, m.Ack("host:8081 gets no more jobs", ("host:8081",)))
    keys = tuple(f"{RUN}/{number}" for number in range(5))
    master.answer(m.ListWorkers, worker(*keys), worker(*keys), worker(keys[0]), worker(services=("r/web",)))
    assert titan("drain", "8081", "--wait") == 0
    assert titan.out == "no job runs on worker host:8081; 1 service still up: r/web\n"
    told = titan.err.splitlines()
    assert told[1].startswith("5 jobs still running there: ") and told[1].endswith("and 2 more")
    assert told[2:] == [f"1 job still running there: {keys[0]}"]


def test_drain_ends_with_a_worker_that_goes_or_with_its_time_out(titan, master):
    script(master, m.DrainWorker, m.Ack("host:8081 gets no more jobs", ("host:8081",)))
    master.answer(m.ListWorkers, worker(KEY), m.WorkerList())
    assert titan("drain", "8081", "--wait") == 0
    assert titan.out == "worker host:8081 is gone\n"
    master.answer(m.ListWorkers, worker(KEY))
    assert titan("drain", "8081", "--wait", "--timeout", "50ms") == 6
    assert "host:8081 still runs" in titan.err
    script(master, m.DrainWorker, NotFound("there is no worker 'x'"))
    assert titan("drain", "x", "--wait") == 4


def test_workers_show_their_trouble(titan, master):
    bad = m.WorkerStatus("host:8081", "DRAINING", slots=4, trouble="its disk is full")
    script(master, m.ListWorkers, m.WorkerList((bad,)))
    assert titan("workers") == 0
    assert "TROUBLE" in titan.out and "DRAINING" in titan.out and "its disk is full" in titan.out


# ── the home ──────────────────────────────────────────────────────────────────────────────────────


def sending(*pieces: bytes, end: object = None, total: int = 100):
    """Answers BACKUP with these pieces; then with the end of them, an error, or silence of the connection."""

    def serve(stream: FrameStream, asked: m.Backup) -> None:
        send(stream, m.BackupInfo(total))
        for piece in pieces:
            stream.send_bytes(encode_frame(Opcode.ASSET_DATA, piece, MORE))
        if isinstance(end, BaseException):
            raise end
        stream.send_bytes(encode_frame(Opcode.ASSET_DATA, b"", Flag.BINARY))

    return serve


def test_backup_writes_a_file_and_does_not_overwrite_one(titan, master, tmp_path):
    master.on(m.Backup, sending(b"one", b"two"))
    assert titan("backup", "titan.tar") == 0
    assert titan.out == "titan.tar  6 B\n" and "tar xf titan.tar -C HOME" in titan.err
    assert (tmp_path / "titan.tar").read_bytes() == b"onetwo"
    assert (tmp_path / "titan.tar").stat().st_mode & 0o777 == 0o600
    (tmp_path / "titan.tar").write_text("precious")
    assert titan("backup", "titan.tar") == 3
    assert "--force" in titan.err and (tmp_path / "titan.tar").read_text() == "precious"
    assert titan("backup", "titan.tar", "--force", "--json") == 0
    assert json.loads(titan.out) == {"target": "titan.tar", "size": 6}
    assert titan("backup", ".") == 3
    assert "is a directory" in titan.err
    assert names_in(tmp_path) == ["titan.tar"]


def test_a_large_backup_shows_its_progress(titan, master):
    master.on(m.Backup, sending(*[bytes(1 << 20)] * 20, total=20 << 20))
    assert titan("backup", "titan.tar") == 0
    assert "titan.tar: 5.0 MiB of 20.0 MiB" in titan.err


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (Conflict("perm_files/a.bin can not be read for a backup"), 3, "perm_files/a.bin can not be read"),
        (HangUp(), 1, "in the middle of the backup"),
    ],
)
def test_a_backup_that_breaks_off_leaves_nothing(titan, master, tmp_path, end, code, said):
    master.on(m.Backup, sending(b"one", end=end))
    (tmp_path / "old.tar").write_text("the one before")
    for words in (("titan.tar",), ("old.tar", "--force")):
        assert titan("backup", *words) == code
        assert said in titan.err
    assert names_in(tmp_path) == ["old.tar"]
    assert (tmp_path / "old.tar").read_text() == "the one before"


def test_ctrl_c_leaves_no_half_backup(titan, master, tmp_path):
    released = threading.Event()

    def hold(stream: FrameStream, asked: m.Backup) -> None:
        send(stream, m.BackupInfo(100))
        stream.send_bytes(encode_frame(Opcode.ASSET_DATA, b"half", MORE))
        released.wait(10)
        raise HangUp

    master.on(m.Backup, hold)
    with start(master, "backup", "titan.tar") as process:
        try:
            wait_until(lambda: (tmp_path / "titan.tar.part").exists(), 10)
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 130
        finally:
            released.set()
        assert process.stderr is not None and b"Traceback" not in process.stderr.read()
    assert names_in(tmp_path) == []


def test_a_full_disk_is_told_in_a_sentence(titan, master, tmp_path):
    master.on(m.Backup, sending(*[bytes(1 << 20)] * 3))
    limited = [
        "sh",
        "-c",
        'ulimit -f 1024; exec "$@"',
        "sh",
        sys.executable,
        str(ROOT / "titan_sdk" / "titan_cli.py"),
    ]
    done = subprocess.run(
        [*limited, "--master", address(master), "backup", "titan.tar"], capture_output=True, text=True
    )
    assert done.returncode == 3 and "titan.tar can not be written: File too large" in done.stderr
    assert names_in(tmp_path) == []
    with open("/dev/full", "wb") as full, start(master, "backup", "-", stdout=full) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        assert process.wait(10) == 1
    assert b"No space left on device" in said and b"Traceback" not in said


def test_check_tells_what_is_wrong(titan, master):
    script(master, m.Check, m.CheckReport((), 1, 2, 3))
    assert titan("check") == 0
    assert titan.out == "all is sound: 1 run, 2 jobs, 3 attempts checked\n"
    script(master, m.Check, m.CheckReport(("run r counts wrong",), 1, 2, 3))
    assert titan("check") == 1
    assert titan.out == "run r counts wrong\n1 problem found: 1 run, 2 jobs, 3 attempts checked\n"
    assert titan("check", "--json") == 1
    assert json.loads(titan.out) == {"problems": ["run r counts wrong"], "runs": 1, "jobs": 2, "attempts": 3}
    assert titan("check", "-q") == 1
    assert titan.out == ""


def test_a_master_that_was_named_is_not_replaced_by_a_home(titan, tmp_path):
    (tmp_path / ".titan").mkdir()
    (tmp_path / ".titan" / "state.db").touch()
    assert titan("--master", "127.0.0.1:1", "check") == 1
    assert "nobody answers at 127.0.0.1:1" in titan.err
