"""A worker among strangers at its own port, and under a master that says what no master says.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats what was said, though not when.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.errors import ProtocolError, TitanError
from titan_core.net.dial import dial
from titan_core.net.server import Server
from titan_core.net.stream import FrameStream, encode
from titan_core.protocol.codec import Message
from titan_core.protocol.messages import (
    BODIES,
    Ack,
    Error,
    ForgetRuns,
    Heartbeat,
    LogPosition,
    Register,
    Registered,
    ResultAck,
    SpawnWorker,
    StartAttempt,
    StopAttempt,
    Task,
)
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import MIB, Decoder, Flag, encode_body, encode_frame
from titan_core.worker import nursery
from titan_core.worker.app import Worker
from titan_test_suite.pytests.integration.worker.conftest import StartWorker
from titan_test_suite.pytests.support.messages import rolled
from titan_test_suite.pytests.support.mutations import mutated_body, mutated_bytes
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed
from titan_test_suite.pytests.support.strangers import Strangers
from titan_test_suite.pytests.support.waiting import wait_until
from titan_test_suite.pytests.support.worker_master import TOKEN, WorkerMaster

CONNECTIONS = 5_000 if TORTURE else 120
SESSIONS = 2_000 if TORTURE else 60
INTERVALS_S = (0.01, 0.01, 0.01, 0.0, -1.0, 1e308, float("nan"))
"""How often a hostile master wants a heartbeat."""
ORDERS = (StartAttempt, StopAttempt, ResultAck, Heartbeat, ForgetRuns, SpawnWorker, Error, Ack, Registered)
"""What a master may say, and some that it may not; no Shutdown, which is obeyed."""


def test_strangers_at_its_own_port(master: WorkerMaster, worker: Worker) -> None:
    dice = random.Random(announced_seed())
    strangers = Strangers(dice, worker.port, TOKEN)
    before = set(worker.threads())
    for number in range(CONNECTIONS):
        strangers.misbehave()
        if number % 100 == 0:  # all of them may take longer than a worker waits for a word
            master.send(Heartbeat())
    with contextlib.closing(dial("127.0.0.1", worker.port, TOKEN, "client")) as stream:
        stream.send(Heartbeat())
        assert stream.receive_message(Heartbeat, 10).used == 0
    assert master.run("exit 3").exit_code == 3
    assert len(master.registrations) == 1
    wait_until(lambda: len(worker.threads()) <= len(before) + 1, 20, worker.threads)  # a slot thread may be kept


class HostileMaster:
    """Proves itself, registers every worker, says a few things, and hangs up."""

    def __init__(self, dice: random.Random, port: int) -> None:
        self.sessions = 0
        self._dice = dice
        self._server = Server("hostile", "127.0.0.1", port, TOKEN, self._serve)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()
        assert self._server.join(10)

    def _serve(self, stream: FrameStream, role: str) -> None:
        with contextlib.suppress(TitanError):
            frame = stream.receive(10)
            if frame is not None and role == "worker":
                self._hold(stream, Register.decode(stream.receive_body(frame)))

    def _hold(self, stream: FrameStream, register: Register) -> None:
        dice = self._dice
        adopted = tuple(LogPosition(token, dice.choice((0, -1, 2**62))) for token in (*register.running, bytes(16)))
        registered = Registered(f"here:{register.port}", dice.choice(INTERVALS_S), 30.0, adopted)
        answer = registered.encode() if dice.random() < 0.9 else mutated_body(dice, registered.encode())
        stream.send_bytes(encode_body(Opcode.DATA, answer) + dice.choice((b"", b"", b"", b"GET / HTTP/1.1")))
        stream.receive(10)  # a greeting: it has begun to obey
        self.sessions += 1
        for _ in range(dice.randrange(1, 6)):
            stream.send_bytes(_but_no_shutdown(self._order()))
        if dice.random() < 0.5:
            stream.receive(0.02)

    def _order(self) -> bytes:
        dice = self._dice
        message = rolled(dice, dice.choice(ORDERS))
        match dice.randrange(6):
            case 0:
                return mutated_bytes(dice, encode(message))
            case 1:
                return encode_frame(dice.choice([*BODIES]), mutated_body(dice, message.encode()))
            case 2:
                return encode_frame(0x6E, dice.randbytes(50))
            case 3:
                return encode_frame(Opcode.START_ATTEMPT, bytes(dice.choice((0, 1, MIB))), Flag.BINARY | Flag.MORE)
            case 4:
                return encode(_odd_order(dice))
            case _:
                return encode(message)


def _but_no_shutdown(sent: bytes) -> bytes:
    """A mutation may have made a SHUTDOWN of something else, and would be obeyed."""
    with contextlib.suppress(ProtocolError):
        if any(frame.opcode == Opcode.SHUTDOWN for frame in Decoder().feed(sent)):
            return b""
    return sent


def _odd_order(dice: random.Random) -> Message:
    """An attempt that can be read, and hardly be run."""
    names = ("run-1", "..", "a/b", "", "a\0b", "x" * 300)
    asset = dice.choice(("job.sh", "../../job.sh", "/bin/true", "", "job", "a\0b"))
    task = rolled(dice, Task)
    assert isinstance(task, Task)
    odd = Task(
        asset,
        dice.choice(("", "0" * 64)),
        task.entry,
        task.args,
        task.env,
        task.timeout_s,
        dice.choice((0, -1, -2, 2**62)),
        task.stop_signal,
        health=task.health,
        max_memory=task.max_memory,
    )
    return StartAttempt(dice.randbytes(16), dice.choice(names), dice.choice(names), dice.choice((1, -1, 2**62)), odd)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[None]:
    """Nothing is written beside the home of the worker."""
    before = sorted(path.name for path in tmp_path.parent.iterdir())
    yield
    assert sorted(path.name for path in tmp_path.parent.iterdir()) == before


def test_a_hostile_master(
    master: WorkerMaster, start_worker: StartWorker, outside: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may waste a worker's time; when a good one is back, the worker is as it was."""
    monkeypatch.setattr(nursery, "spawn_command", lambda *args: ["/bin/false"])
    dice = random.Random(announced_seed())
    worker = start_worker()
    master.wait_for_worker()
    with master.down():
        hostile = HostileMaster(dice, master.port)
        try:
            wait_until(lambda: hostile.sessions >= SESSIONS or not worker.threads(), 120, lambda: hostile.sessions)
        finally:
            hostile.stop()
        assert worker.threads(), f"it ended: {worker.failure}"
    registrations = len(master.registrations)
    master.wait_for_worker(registrations + 1)
    assert master.run("exit 3").exit_code == 3
    assert not worker.failure
    assert threading.active_count() < 60
