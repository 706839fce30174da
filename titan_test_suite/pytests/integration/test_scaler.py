"""The scaler's threads: it looks at its rate whatever a provisioner does, carries out orders, and ends in time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from titan_core.errors import ProvisioningFailed
from titan_core.master import scaler
from titan_core.master.engine import Engine
from titan_core.master.provisioners import CommandProvisioner, Provisioner, WebhookProvisioner
from titan_core.master.scaler import ScalerExecutor
from titan_core.scheduler.actions import Provision, Release
from titan_core.scheduler.events import Event, ProvisionFailed, ScalingDue
from titan_test_suite.pytests.support.waiting import wait_until


class Recorder:
    """In the place of an engine: what it was told, with the instants."""

    def __init__(self) -> None:
        self.told: list[tuple[float, Event]] = []

    def submit(self, event: Event) -> list[object]:
        self.told.append((time.monotonic(), event))
        return []

    def looks(self) -> list[float]:
        return [at for at, event in list(self.told) if isinstance(event, ScalingDue)]

    def failures(self) -> list[Event]:
        return [event for _, event in list(self.told) if isinstance(event, ProvisionFailed)]


class Scripted:
    """A provisioner that notes what it is asked, blocks while its gate is closed, and refuses what it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | int]] = []
        self.refused: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.stops = 0

    def add(self, capability: str, count: int) -> None:
        self._do((capability, count))

    def remove(self, worker_id: str, capability: str) -> None:
        self._do((capability, worker_id))

    def stop(self) -> None:
        self.stops += 1
        self.gate.set()

    def _do(self, asked: tuple[str, str | int]) -> None:
        self.asked.append(asked)
        self.gate.wait()
        if asked[0] in self.refused:
            raise ProvisioningFailed(f"there is no {asked[0]}")


Begin = Callable[..., ScalerExecutor]


@pytest.fixture
def engine() -> Recorder:
    return Recorder()


@pytest.fixture
def provisioner() -> Scripted:
    return Scripted()


@pytest.fixture
def begin(engine: Recorder) -> Iterator[Begin]:
    """Starts a scaler for the recorder; all end with the test."""
    begun: list[ScalerExecutor] = []

    def start(provisioner: Provisioner | None, scale_s: float = 60.0) -> ScalerExecutor:
        begun.append(ScalerExecutor(cast(Engine, engine), scale_s, provisioner))
        begun[-1].start()
        return begun[-1]

    yield start
    for running in begun:
        running.stop()
        assert running.join(5) and not running.failed


def test_it_looks_at_its_rate(engine: Recorder, begin: Begin) -> None:
    began_at = time.monotonic()
    begin(None, 0.05)
    wait_until(lambda: len(engine.looks()) >= 5)
    assert all(at - began_at >= 0.05 * number for number, at in enumerate(engine.looks(), 1))


def test_where_nobody_is_asked_there_is_no_thread_for_it(begin: Begin) -> None:
    assert [thread.name for thread in begin(None).threads()] == ["scaler"]


def test_orders_are_carried_out_in_order(
    begin: Begin, provisioner: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "titan.master"):
        running = begin(provisioner)
        for order in (Provision("GPU", 2), Release("w:1", "GPU"), Provision("GENERAL", 1)):
            running.put(order)
        wait_until(lambda: len(caplog.records) == 3)
    assert provisioner.asked == [("GPU", 2), ("GPU", "w:1"), ("GENERAL", 1)]
    said = [record.getMessage() for record in caplog.records]
    assert said == ["asked for 2 more with GPU", "gave back worker w:1", "asked for 1 more with GENERAL"]
    assert {record.action for record in caplog.records} == {"scaling.asked"}  # type: ignore[attr-defined]


def test_a_failure_is_told_to_the_core(
    engine: Recorder, begin: Begin, provisioner: Scripted, caplog: pytest.LogCaptureFixture
) -> None:
    provisioner.refused = {"GPU"}
    running = begin(provisioner)
    running.put(Release("w:1", "GPU"))
    running.put(Provision("GPU", 1))
    running.put(Provision("GENERAL", 1))
    wait_until(lambda: len(provisioner.asked) == 3)
    assert engine.failures() == [ProvisionFailed("GPU", "there is no GPU", 1)]
    failed = [record for record in caplog.records if record.action == "scaling.failed"]  # type: ignore[attr-defined]
    assert [record.getMessage() for record in failed] == ["there is no GPU"] * 2


def test_orders_that_wait_for_a_slow_provisioner_are_added_up(begin: Begin, provisioner: Scripted) -> None:
    provisioner.gate.clear()
    running = begin(provisioner)
    running.put(Provision("GPU", 1))
    wait_until(lambda: provisioner.asked)
    for order in (Provision("GPU", 1), Release("w:1", "GPU"), Provision("CPU", 1), Provision("GPU", 2)):
        running.put(order)
        running.put(Release("w:1", "GPU"))
    provisioner.gate.set()
    wait_until(lambda: len(provisioner.asked) == 4)
    assert provisioner.asked == [("GPU", 1), ("GPU", 3), ("GPU", "w:1"), ("CPU", 1)]


def test_orders_do_not_pile_up(begin: Begin, provisioner: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaler, "WAITING_MOST", 10)
    provisioner.gate.clear()
    running = begin(provisioner)
    for number in range(100):
        running.put(Provision(f"KIND-{number}", 1))
    running.put(Provision("KIND-5", 1))
    provisioner.gate.set()
    running.put(Release("w:1", "GPU"))
    wait_until(lambda: len(provisioner.asked) in (10, 11, 12) and not running._orders)
    assert ("KIND-5", 2) in provisioner.asked


def test_a_provisioner_that_hangs_delays_no_look(engine: Recorder, begin: Begin, provisioner: Scripted) -> None:
    provisioner.gate.clear()
    running = begin(provisioner, 0.05)
    running.put(Provision("GPU", 1))
    wait_until(lambda: provisioner.asked)
    before = len(engine.looks())
    wait_until(lambda: len(engine.looks()) >= before + 5, 5)
    assert len(provisioner.asked) == 1


def test_what_is_cut_by_the_end_is_no_failure(engine: Recorder, begin: Begin, provisioner: Scripted) -> None:
    provisioner.gate.clear()
    provisioner.refused = {"GPU"}
    running = begin(provisioner)
    running.put(Provision("GPU", 1))
    wait_until(lambda: provisioner.asked)
    running.put(Provision("GENERAL", 1))
    running.stop()
    running.stop()
    assert running.join(5)
    assert (engine.failures(), len(provisioner.asked)) == ([], 1)


def test_it_can_be_stopped_before_it_starts(engine: Recorder, begin: Begin, provisioner: Scripted) -> None:
    early = ScalerExecutor(cast(Engine, engine), 60.0, provisioner)
    early.stop()
    early.put(Provision("GPU", 1))
    early.start()
    assert early.join(5)
    assert provisioner.asked == []


def test_stops_while_it_starts(engine: Recorder, provisioner: Scripted) -> None:
    for _ in range(50):
        running = ScalerExecutor(cast(Engine, engine), 60.0, provisioner)
        stopper = threading.Thread(target=running.stop)
        stopper.start()
        running.start()
        stopper.join()
        assert running.join(5)


def test_it_ends_although_a_webhook_hangs(begin: Begin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        running = begin(WebhookProvisioner(f"http://127.0.0.1:{silent.getsockname()[1]}/", b"", bytes(16)))
        running.put(Provision("GPU", 1))
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(1)
            assert_ends_soon(running)


def test_it_ends_although_a_command_hangs(begin: Begin, tmp_path: Path) -> None:
    running = begin(CommandProvisioner(f"bash -c 'trap \"\" TERM; touch {tmp_path}/begun; sleep 600'"))
    running.put(Provision("GPU", 1))
    wait_until((tmp_path / "begun").exists)
    assert_ends_soon(running)


def assert_ends_soon(running: ScalerExecutor) -> None:
    began_at = time.monotonic()
    running.stop()
    assert running.join(5)
    assert time.monotonic() - began_at < 3
