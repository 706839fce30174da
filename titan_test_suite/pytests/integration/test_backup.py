"""Backups of a real master in this process: what is in them, and what is left when one fails or breaks off."""

from __future__ import annotations

import contextlib
import io
import os
import sqlite3
import tarfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_core.config import MasterConfig
from titan_core.errors import Conflict, InvalidRequest, TitanError, Unavailable
from titan_core.master import backup
from titan_core.master.app import Master
from titan_core.net.dial import dial
from titan_core.net.stream import raise_error
from titan_core.protocol.messages import Backup, BackupInfo
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import MAX_NATIVE, MIB
from titan_core.store.check import examine
from titan_sdk import TitanClient
from titan_test_suite.pytests.support.waiting import wait_until


@pytest.fixture
def home(tmp_path: Path) -> Path:
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def master(home: Path) -> Iterator[Master]:
    running = Master(MasterConfig(home=home, port=0))
    running.start()
    yield running
    running.stop()
    assert running.join()


@pytest.fixture
def client(master: Master) -> Iterator[TitanClient]:
    with TitanClient("127.0.0.1", master.port, token=master.token) as connected:
        yield connected


def copies(home: Path) -> list[Path]:
    return list((home / ".titan").glob("backup-*"))


def members(data: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


def test_it_holds_the_database_the_contents_and_the_files(
    client: TitanClient, home: Path, tmp_path: Path, master: Master
) -> None:
    files = home / "perm_files"
    (files / "deep").mkdir()
    (files / "deep" / "run.sh").write_text("echo deep")
    (files / "same.sh").hardlink_to(files / "deep" / "run.sh")
    (files / "link.sh").symlink_to("same.sh")
    (files / ".incoming-0123").write_text("half")
    os.mkfifo(files / "pipe")
    job = client.submit_job(filename=files / "same.sh")
    assert client.backup(tmp_path / "a.tar") == (tmp_path / "a.tar").stat().st_size
    assert (tmp_path / "a.tar").stat().st_mode & 0o777 == 0o600
    found = members((tmp_path / "a.tar").read_bytes())
    assert {name for name in found if name.startswith("perm_files")} == {
        "perm_files",
        "perm_files/deep",
        *(f"perm_files/{name}" for name in ("deep/run.sh", "same.sh", "link.sh")),
    }
    assert found["perm_files/same.sh"].isreg() and found["perm_files/link.sh"].linkname == "same.sh"
    assert found[".titan"].mode & 0o777 == 0o700 and found[".titan/state.db"].mode & 0o777 == 0o600
    assert any(name.startswith(".titan/assets/") for name in found)
    assert not [name for name in found if "token" in name or "lock" in name or "logs" in name]
    with tarfile.open(tmp_path / "a.tar") as archive:
        archive.extract(".titan/state.db", tmp_path, filter="data")
    with contextlib.closing(sqlite3.connect(tmp_path / ".titan" / "state.db")) as connection:
        assert connection.execute("SELECT run_id FROM runs").fetchall() == [(job.run_id,)]
        connection.isolation_level = None
        assert examine(connection).problems == []
    assert copies(home) == []


def test_a_large_file_is_never_whole_in_memory(client: TitanClient, home: Path) -> None:
    with open(home / "perm_files" / "large.bin", "wb") as large:
        large.truncate(64 * MIB)
    with open(os.devnull, "wb") as nowhere:
        tracemalloc.start()
        try:
            assert client.backup(nowhere) > 64 * MIB
            assert tracemalloc.get_traced_memory()[1] < 16 * MIB
        finally:
            tracemalloc.stop()


def test_progress_reaches_what_was_announced(client: TitanClient, home: Path) -> None:
    (home / "perm_files" / "some.bin").write_bytes(os.urandom(3 * MIB))
    told: list[tuple[int, int]] = []
    size = client.backup(io.BytesIO(), lambda done, total: told.append((done, total)))
    assert told == sorted(told) and told[-1][0] <= told[-1][1]
    assert abs(told[0][1] - size) < MIB


def test_a_client_that_hangs_up_half_way_leaves_nothing(master: Master, home: Path) -> None:
    (home / "perm_files" / "some.bin").write_bytes(bytes(32 * MIB))
    stream = dial("127.0.0.1", master.port, master.token, role="client")
    stream.send(Backup())
    stream.receive_message(BackupInfo, 10)
    first = stream.receive(10)
    assert first is not None and first.opcode == Opcode.ASSET_DATA and len(first.payload) <= MAX_NATIVE
    assert copies(home)
    stream.close()
    wait_until(lambda: not copies(home), 10)


def test_a_file_that_is_cut_off_while_it_is_sent_is_named(master: Master, home: Path) -> None:
    large = home / "perm_files" / "shrinks.bin"
    large.write_bytes(bytes(64 * MIB))
    with contextlib.closing(dial("127.0.0.1", master.port, master.token, role="client")) as stream:
        stream.send(Backup())
        stream.receive_message(BackupInfo, 10)
        for _ in range(4):  # it is being read by now; most of it waits for us
            assert stream.receive(10) is not None
        os.truncate(large, MIB)
        while (frame := stream.receive(10)) is not None and frame.opcode == Opcode.ASSET_DATA:
            assert frame.more
        assert frame is not None
        with pytest.raises(Conflict, match=r"perm_files/shrinks\.bin can not be read for a backup"):
            raise_error(frame.payload)
    assert copies(home) == []


def test_a_disk_without_room_for_the_copy_is_not_filled(
    client: TitanClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup, "SPARE", 1 << 60)
    with pytest.raises(Unavailable, match="a backup takes"):
        client.backup(io.BytesIO())
    assert copies(home) == []
    assert client.workers() == ()  # the connection, and the master, go on


def test_copies_of_an_earlier_master_are_removed(home: Path) -> None:
    (home / ".titan").mkdir(mode=0o700)
    (home / ".titan" / "backup-0123.db-journal").write_text("half")
    master = Master(MasterConfig(home=home, port=0))
    master.start()
    master.stop()
    assert master.join()
    assert copies(home) == []


def test_a_target_that_exists_is_replaced_whole_or_not_at_all(
    client: TitanClient, tmp_path: Path, master: Master
) -> None:
    target = tmp_path / "a.tar"
    target.write_text("the one before")
    (tmp_path / "b.tar").symlink_to(target)
    master.stop()
    with pytest.raises(TitanError):
        client.backup(target)
    assert target.read_text() == "the one before" and not (tmp_path / "a.tar.part").exists()
    with pytest.raises(InvalidRequest, match="is a directory"):
        client.backup(tmp_path)


def test_nothing_is_kept_in_memory_only(tmp_path: Path) -> None:
    master = Master(MasterConfig(home=tmp_path, port=0, in_memory=True))
    master.start()
    try:
        with TitanClient("127.0.0.1", master.port, token=master.token) as client:
            for refused in (client.check, lambda: client.backup(io.BytesIO())):
                with pytest.raises(Conflict, match="--in-memory"):
                    refused()
    finally:
        master.stop()
        assert master.join()
