"""What jobs print reaches the master: all of it, in order, in batches, before the result, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from titan_core.protocol.messages import LogPosition, Result
from titan_core.worker.logs import BATCH_LINES, PIECE_BYTES
from titan_core.worker.outbox import ROOM_BYTES
from titan_core.worker.output import GOES_ON, NOTE_ROOM, cut_note
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import WorkerMaster

pytestmark = pytest.mark.usefixtures("worker")

MIB = 1024 * 1024


def received(master: WorkerMaster, token: bytes) -> int:
    return sum(len(batch.data) for batch in list(master.batches[token]))


def test_ten_thousand_lines_come_in_order(master: WorkerMaster) -> None:
    token = master.start("for n in range(10_000): print('line', n)\n", "job.py")
    assert master.result(token).outcome == "SUCCEEDED"
    assert master.log(token).decode().splitlines() == [f"line {n}" for n in range(10_000)]
    assert max(batch.data.count(b"\n") for batch in master.batches[token]) <= BATCH_LINES


def test_a_burst_of_lines_is_split_into_batches(master: WorkerMaster) -> None:
    token = master.start("seq 1000")
    master.result(token)
    assert [batch.data.count(b"\n") for batch in master.batches[token]] == [BATCH_LINES] * 5


def test_the_log_is_complete_before_the_result(master: WorkerMaster, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[bytes, int] = {}
    keep = master._keep

    def note(message: object, stream: object) -> None:
        if isinstance(message, Result):
            sizes[message.token] = received(master, message.token)
        keep(message, stream)  # type: ignore[arg-type]

    monkeypatch.setattr(master, "_keep", note)
    tokens = [master.start("head -c 700000 /dev/zero") for _ in range(8)]
    for token in tokens:
        master.result(token)
    assert sizes == dict.fromkeys(tokens, 700_000)


def test_lines_arrive_while_the_job_runs(master: WorkerMaster, shared: Path) -> None:
    token = master.start("echo one; while [ ! -e go ]; do sleep 0.01; done; echo two")
    wait_until(lambda: master.log(token) == b"one\n", 5)
    assert not master.results(token)
    (shared / "go").touch()
    master.result(token)
    assert master.log(token) == b"one\ntwo\n"


def test_fifty_megabytes_in_one_line_neither_fill_the_memory_nor_slow_the_job(
    master: WorkerMaster, start_worker: StartWorker, shared: Path
) -> None:
    start_worker(max_log_bytes=4 * 50 * MIB)
    master.wait_for_worker(2)
    size, memory = 50 * MIB, psutil.Process().memory_info().rss
    master.read_gate.clear()  # a master that reads nothing: what can not be sent must stay in the file
    token = master.start(f"head -c {size} /dev/zero | tr '\\0' x; echo > over; sleep 600")
    wait_until((shared / "over").exists, 20)
    assert psutil.Process().memory_info().rss - memory < 8 * ROOM_BYTES
    master.read_gate.set()
    wait_until(lambda: received(master, token) == size, 20)
    assert max(len(batch.data) for batch in master.batches[token]) <= PIECE_BYTES
    assert master.log(token) == b"x" * size
    master.stop(token)
    master.result(token)


def test_bytes_that_are_no_text_come_through(master: WorkerMaster) -> None:
    token = master.start("printf '\\xff\\x00\\xfe\\n\\xe4'")
    master.result(token)
    assert master.log(token) == b"\xff\x00\xfe\n\xe4"


def own_file(tmp_path: Path) -> Path:
    """The log of the only job there was, on its worker's disk."""
    (file,) = tmp_path.glob("titan_workspace/jobs/run-1/*/attempt-1.log")
    return file


CHATTY = """
i=0
while [ ! -e go ] || [ $i -lt 500 ]; do i=$((i+1)); printf 'line %06d %0400d\\n' $i $i; done
echo last
"""


def test_of_a_long_output_beginning_and_end_are_kept(
    master: WorkerMaster, start_worker: StartWorker, tmp_path: Path, shared: Path
) -> None:
    start_worker(max_log_bytes=20_000)
    master.wait_for_worker(2)
    token = master.start(CHATTY)
    wait_until(lambda: master.log(token).endswith(GOES_ON), 10)  # the head, and nothing of what may be cut
    assert len(master.log(token)) == 10_000 + len(GOES_ON)
    (shared / "go").touch()
    assert master.result(token).outcome == "SUCCEEDED"
    log = master.log(token)
    head, _, rest = log.partition(GOES_ON)
    note, _, tail = rest.partition(b"\n")
    assert own_file(tmp_path).read_bytes() == log
    assert (len(head), len(tail)) == (10_000, 10_000 - NOTE_ROOM)
    assert (head[:12], tail[-5:]) == (b"line 000001 ", b"last\n")
    lines = int(tail.splitlines()[-2].split()[1])
    assert note + b"\n" == cut_note(lines * 413 + 5 - len(head) - len(tail))


def test_what_a_job_prints_takes_little_room_also_without_a_master(
    master: WorkerMaster, start_worker: StartWorker, tmp_path: Path, shared: Path
) -> None:
    start_worker(max_log_bytes=2 * MIB)
    master.wait_for_worker(2)
    token = master.start("while [ ! -e go ]; do head -c 1000000 /dev/zero | tr '\\0' z; sleep 0.02; done")
    wait_until(lambda: list(tmp_path.glob("titan_workspace/jobs/run-1/*/attempt-1.log")), 10)
    master.adopt = lambda register: (LogPosition(token, len(master.log(token))),)
    with master.down():
        file, most = own_file(tmp_path), 0
        for target in range(MIB, 30 * MIB, MIB):
            wait_until(lambda target=target: file.stat().st_size > target, 10)
            most = max(most, file.stat().st_blocks * 512)
    assert most < 12 * MIB  # the limit, and what a busy machine prints between two looks
    wait_until(lambda: any(token in register.running for register in master.registrations), 10)
    (shared / "go").touch()
    master.result(token)
    assert own_file(tmp_path).read_bytes() == master.log(token)
    assert len(master.log(token)) <= 2 * MIB


def test_a_service_is_followed_beyond_what_is_kept_of_it(
    master: WorkerMaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titan_core.worker.logs.SERVICE_LOG_BYTES", 200_000)
    token = master.start("for n in {1..100}; do seq 1000; sleep 0.01; done; sleep 600", service=True)
    expected = b"".join(b"%d\n" % n for n in range(1, 1001)) * 100
    wait_until(lambda: received(master, token) >= len(expected), 20)
    assert master.log(token) == expected
    master.stop(token)
    master.result(token)
    assert own_file(tmp_path).stat().st_size <= 200_000


def test_a_service_does_not_wait_for_a_master_that_reads_nothing(
    master: WorkerMaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("titan_core.worker.logs.SERVICE_LOG_BYTES", 200_000)
    master.read_gate.clear()
    token = master.start("while :; do seq 100000; sleep 0.01; done", service=True)
    wait_until(lambda: list(tmp_path.glob("titan_workspace/jobs/run-1/*/attempt-1.log")), 10)
    wait_until(lambda: own_file(tmp_path).stat().st_size > 30 * MIB, 20)
    assert own_file(tmp_path).stat().st_blocks * 512 < 10 * MIB
    master.read_gate.set()
    wait_until(
        lambda: any(b" bytes of the output were cut here]\n" in b.data for b in list(master.batches[token])), 10
    )
    master.stop(token)
    master.result(token)


def test_a_service_that_prints_without_end_holds_up_no_other_log(master: WorkerMaster) -> None:
    service = master.start("yes", service=True)
    wait_until(lambda: received(master, service) > MIB, 10)
    master.acknowledges = False
    token = master.start("echo once")
    master.result(token)
    master.acknowledges = True
    master.adopt = lambda register: tuple(LogPosition(token, 0) for token in register.running)
    master.drop_session()
    wait_until(lambda: [batch.data for batch in master.batches[token]] == [b"once\n"] * 2, 10)
    master.stop(service)
    master.result(service)
