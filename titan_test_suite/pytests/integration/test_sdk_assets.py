"""Files on their way to the master and back: streamed, checked, and left out when it has them."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import pytest

from titan_core.errors import ChecksumMismatch, Conflict, ConnectionLost, InvalidRequest, NotFound, Unavailable
from titan_core.net.stream import FrameStream
from titan_core.protocol.messages import (
    AssetInfo,
    FetchAsset,
    SubmitRun,
    Submitted,
    UploadAsset,
    UploadReply,
)
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import MIB, split_body
from titan_sdk import TitanClient, TitanJob
from titan_sdk.contents import INLINE_FILE
from titan_sdk.errors import AssetMissing
from titan_test_suite.pytests.support.scripted_master import HangUp, ScriptedMaster, send


class Shelf:
    """What a scripted master keeps of uploads; checks what it gets like the real one."""

    def __init__(self, master: ScriptedMaster) -> None:
        self.by_sha256: dict[str, bytes] = {}
        self.pieces: list[int] = []
        master.on(UploadAsset, self.receive)
        master.on(SubmitRun, self.submit)

    def receive(self, stream: FrameStream, request: UploadAsset) -> AssetInfo | UploadReply:
        if request.sha256 in self.by_sha256:
            return UploadReply(True)
        send(stream, UploadReply(False))
        first = stream.receive(5)
        assert first is not None and first.opcode == Opcode.ASSET_DATA
        pieces = list(stream.receive_pieces(first))
        self.pieces = [len(piece) for piece in pieces]
        data = b"".join(pieces)
        if hashlib.sha256(data).hexdigest() != request.sha256:
            raise ChecksumMismatch()
        self.by_sha256[request.sha256] = data
        return AssetInfo(request.name, request.sha256, len(data))

    def submit(self, stream: FrameStream, request: SubmitRun) -> Submitted:
        self.by_sha256 |= {content.sha256: content.data for content in request.contents}
        missing = {job.task.sha256 for job in request.jobs} - self.by_sha256.keys()
        if missing:
            raise AssetMissing("send these", missing=",".join(sorted(missing)))
        return Submitted("run-1", len(request.jobs))


@pytest.fixture
def shelf(master: ScriptedMaster) -> Shelf:
    return Shelf(master)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def a_file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


# ── uploads ───────────────────────────────────────────────────────────────────────────────────────


def test_five_mebibytes_go_up_in_pieces(client: TitanClient, shelf: Shelf, tmp_path: Path) -> None:
    data = noise(5 * MIB + 17)
    seen: list[tuple[int, int]] = []
    info = client.upload_file(
        a_file(tmp_path / "model.bin", data), progress=lambda done, total: seen.append((done, total))
    )
    assert info == AssetInfo("model.bin", hashlib.sha256(data).hexdigest(), len(data))
    assert shelf.by_sha256[info.sha256] == data
    assert shelf.pieces == [MIB] * 5 + [17]
    assert seen[0] == (MIB, len(data)) and seen[-1] == (len(data), len(data))


def test_content_the_master_has_is_not_sent_again(client: TitanClient, shelf: Shelf, tmp_path: Path) -> None:
    path = a_file(tmp_path / "a.txt", b"text")
    first = client.upload_file(path)
    shelf.pieces = []
    assert client.upload_file(path, "b.txt").sha256 == first.sha256
    assert shelf.pieces == []


def test_an_empty_file_is_one_empty_piece(client: TitanClient, shelf: Shelf, tmp_path: Path) -> None:
    assert client.upload_file(a_file(tmp_path / "empty.txt", b"")).size == 0
    assert shelf.pieces == [0]


def test_a_file_that_changes_under_way_is_a_checksum_mismatch(
    client: TitanClient, master: ScriptedMaster, shelf: Shelf, tmp_path: Path
) -> None:
    path = a_file(tmp_path / "log.txt", noise(2 * MIB))

    def change_first(stream: FrameStream, request: UploadAsset) -> AssetInfo | UploadReply:
        path.write_bytes(noise(2 * MIB + 1)[1:])
        return shelf.receive(stream, request)

    master.on(UploadAsset, change_first)
    with pytest.raises(ChecksumMismatch):
        client.upload_file(path)
    assert not shelf.by_sha256


def test_a_file_that_shrinks_under_way_is_said(client: TitanClient, master: ScriptedMaster, tmp_path: Path) -> None:
    path = a_file(tmp_path / "log.txt", noise(2 * MIB))

    def shrink(stream: FrameStream, request: UploadAsset) -> UploadReply:
        path.write_bytes(b"short")
        return UploadReply(False)

    master.on(UploadAsset, shrink)
    with pytest.raises(InvalidRequest, match="became shorter"):
        client.upload_file(path)


def test_a_refused_upload_sends_nothing(client: TitanClient, master: ScriptedMaster, tmp_path: Path) -> None:
    master.answer(UploadAsset, Conflict("a directory is there"))
    with pytest.raises(Conflict):
        client.upload_file(a_file(tmp_path / "a.txt", b"text"))
    assert len(master.requests) == 1


def test_an_error_in_the_middle_of_an_upload_is_heard(
    client: TitanClient, master: ScriptedMaster, tmp_path: Path
) -> None:
    def disk_full(stream: FrameStream, request: UploadAsset) -> None:
        send(stream, UploadReply(False))
        stream.receive(5)
        raise Unavailable("the disk is full")

    master.on(UploadAsset, disk_full)
    with pytest.raises((Unavailable, ConnectionLost)):  # the network may lose the last words of a peer
        client.upload_file(a_file(tmp_path / "big.bin", noise(8 * MIB)))


@pytest.mark.parametrize("name", ["nothing.txt", "x" * 10_000, "a\0b"])
def test_a_file_that_is_not_there(client: TitanClient, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound, match="there is no file"):
        client.upload_file(tmp_path / name)


def test_a_directory_where_a_file_is_meant(client: TitanClient, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is a directory where a file is meant"):
        client.upload_file(tmp_path)


def test_a_special_file_is_refused_without_opening_it(client: TitanClient, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequest, match="not a regular file"):
        client.upload_file(tmp_path / "pipe")


def test_a_folder_goes_up_as_an_archive(client: TitanClient, shelf: Shelf, tmp_path: Path) -> None:
    a_file(tmp_path / "main.py", b"print(1)\n")
    info = client.upload_project_folder(tmp_path, "project")
    assert info.name == "project.zip"
    assert client.upload_project_folder(tmp_path, "project.zip") == info


# ── downloads ─────────────────────────────────────────────────────────────────────────────────────


def serve(master: ScriptedMaster, data: bytes, announced: bytes | None = None) -> None:
    info = AssetInfo("model.bin", hashlib.sha256(announced or data).hexdigest(), len(announced or data))

    def handler(stream: FrameStream, request: FetchAsset) -> None:
        send(stream, info)
        for frame in split_body(Opcode.ASSET_DATA, data):
            stream.send_bytes(frame)

    master.on(FetchAsset, handler)


def test_five_mebibytes_come_down(client: TitanClient, master: ScriptedMaster, tmp_path: Path) -> None:
    data = noise(5 * MIB + 3)
    serve(master, data)
    assert client.fetch_artifact("model.bin") == data
    assert client.fetch_artifact("model.bin", tmp_path / "copy") == tmp_path / "copy"
    assert client.fetch_artifact("models/model.bin", tmp_path) == tmp_path / "model.bin"
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "model.bin").read_bytes() == data
    assert master.connections == 1


def test_damaged_content_never_reaches_the_target(
    client: TitanClient, master: ScriptedMaster, tmp_path: Path
) -> None:
    data = noise(5 * MIB)
    serve(master, data[:-1] + b"!", announced=data)
    target = a_file(tmp_path / "copy", b"what was there before")
    with pytest.raises(ChecksumMismatch, match="fetch it again"):
        client.fetch_artifact("model.bin", target)
    assert target.read_bytes() == b"what was there before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_master_that_hangs_up_half_way_leaves_no_half_file(
    client: TitanClient, master: ScriptedMaster, tmp_path: Path
) -> None:
    def handler(stream: FrameStream, request: FetchAsset) -> None:
        send(stream, AssetInfo("model.bin", "0" * 64, 3 * MIB))
        stream.send_bytes(next(split_body(Opcode.ASSET_DATA, noise(3 * MIB))))
        raise HangUp

    master.on(FetchAsset, handler)
    with pytest.raises(ConnectionLost, match="in the middle of a body"):
        client.fetch_artifact("model.bin", tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []


def test_a_target_that_can_not_be_written_is_said(
    client: TitanClient, master: ScriptedMaster, tmp_path: Path
) -> None:
    serve(master, b"data")
    with pytest.raises(InvalidRequest, match="can not be written: No such file or directory"):
        client.fetch_artifact("model.bin", tmp_path / "no" / "such" / "folder")


# ── contents of submissions ───────────────────────────────────────────────────────────────────────


def test_small_files_travel_inside_the_submission_and_only_once(
    client: TitanClient, master: ScriptedMaster, shelf: Shelf, tmp_path: Path
) -> None:
    script = a_file(tmp_path / "a.py", b"print(1)\n")
    jobs = [TitanJob(f"j{number}", script) for number in range(100)]
    assert str(client.submit_dag("many", jobs)) == "run-1"
    client.submit_dag("again", jobs)
    first, second = master.asked(SubmitRun)
    assert [content.data for content in first.contents] == [b"print(1)\n"]
    assert second.contents == ()
    assert {job.task.asset for job in second.jobs} == {"a.py"}
    assert first.request_id != second.request_id and len(first.request_id) == 16
    assert master.asked(UploadAsset) == []


def test_large_files_are_uploaded_before(
    client: TitanClient, master: ScriptedMaster, shelf: Shelf, tmp_path: Path
) -> None:
    jar = a_file(tmp_path / "app.jar", noise(INLINE_FILE + 1))
    client.submit_job(filename=jar)
    upload, submission = master.requests
    assert isinstance(upload, UploadAsset) and isinstance(submission, SubmitRun)
    assert upload.name == "" and upload.sha256 == submission.jobs[0].task.sha256
    assert submission.contents == ()
    assert submission.name == "app"


def test_content_the_master_has_forgotten_is_sent_once_more(
    client: TitanClient, master: ScriptedMaster, shelf: Shelf, tmp_path: Path
) -> None:
    jobs = [
        TitanJob("a", a_file(tmp_path / "a.py", b"print(1)\n")),
        TitanJob("b", a_file(tmp_path / "b.jar", noise(INLINE_FILE + 1))),
        TitanJob("c", a_file(tmp_path / "c.py", b"print(3)\n")),
    ]
    client.submit_dag("first", jobs)
    kept = hashlib.sha256(b"print(3)\n").hexdigest()
    shelf.by_sha256 = {kept: b"print(3)\n"}
    client.submit_dag("second", jobs)
    _, refused, repeated = master.asked(SubmitRun)
    assert refused.contents == ()
    assert [content.data for content in repeated.contents] == [b"print(1)\n", b"print(3)\n"]
    assert repeated.request_id == refused.request_id
    assert len(master.asked(UploadAsset)) == 2


def test_a_master_that_misses_what_nobody_has_is_not_asked_again(
    client: TitanClient, master: ScriptedMaster, tmp_path: Path
) -> None:
    master.answer(SubmitRun, AssetMissing("gone", missing="0" * 64))
    with pytest.raises(AssetMissing):
        client.submit_job(filename=a_file(tmp_path / "a.py", b"print(1)\n"))
    assert len(master.asked(SubmitRun)) == 1


def test_a_submission_cut_off_is_sent_again_with_the_same_id(
    client: TitanClient, master: ScriptedMaster, shelf: Shelf, tmp_path: Path
) -> None:
    script = a_file(tmp_path / "a.py", b"print(1)\n")
    client.submit_job(filename=script)
    master.answer(SubmitRun, HangUp(), Submitted("run-2", 1))
    assert client.submit_job(filename=script).run_id == "run-2"
    _, cut_off, repeated = master.asked(SubmitRun)
    assert cut_off == repeated


def test_an_archive_is_sent_once_and_its_entries_are_named(
    client: TitanClient, master: ScriptedMaster, shelf: Shelf, tmp_path: Path
) -> None:
    from titan_sdk.project import pack_project

    folder = tmp_path / "project"
    (folder / "steps").mkdir(parents=True)
    a_file(folder / "steps" / "one.py", b"print(1)\n")
    a_file(folder / "two.py", b"print(2)\n")
    archive = tmp_path / "project.zip"
    pack_project(folder, archive)
    names = ["steps/one.py", "two.py"]
    client.submit_dag(
        "p", [TitanJob(f"{archive}/{name}"[-6:-3], f"{archive}/{name}", is_archive=True) for name in names]
    )
    (submission,) = master.asked(SubmitRun)
    assert [(job.task.asset, job.task.entry) for job in submission.jobs] == [("project.zip", name) for name in names]
    assert len({job.task.sha256 for job in submission.jobs}) == len(submission.contents) == 1
    with pytest.raises(NotFound, match=r"no 'steps/on\.py' in project\.zip; did you mean 'steps/one\.py'"):
        client.submit_job(TitanJob("x", f"{archive}/steps/on.py", is_archive=True))
