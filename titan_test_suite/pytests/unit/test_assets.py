"""The asset store: content by SHA-256, names of perm_files/, and what becomes of bad ones."""

from __future__ import annotations

import hashlib
import os
import random
import stat
import threading
from pathlib import Path

import pytest

from titan_core.errors import AssetMissing, ChecksumMismatch, Conflict, InvalidRequest, NotFound
from titan_core.store.assets import AssetRef, AssetStore


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def files(tmp_path) -> Path:
    return tmp_path / "perm_files"


@pytest.fixture
def store(files, tmp_path) -> AssetStore:
    return AssetStore(files, tmp_path / ".titan" / "assets", max_bytes=1_000_000)


def write(path: Path, data: bytes, age_s: float = 60) -> Path:
    """A file that has not changed for a while."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    then = path.stat().st_mtime - age_s
    os.utime(path, (then, then))
    return path


def content(store: AssetStore, sha256: str) -> bytes:
    file, size = store.open(sha256)
    with file:
        data = file.read()
    assert len(data) == size
    return data


def nothing_half_done(files: Path, tmp_path: Path) -> bool:
    return not list(files.rglob(".incoming-*")) and not list((tmp_path / ".titan" / "assets").glob(".incoming-*"))


class TestContent:
    def test_put_and_open(self, store):
        assert not store.has(sha(b"abc"))
        store.put(sha(b"abc"), b"abc")
        store.put(sha(b"abc"), b"abc")
        assert store.has(sha(b"abc"))
        assert content(store, sha(b"abc")) == b"abc"

    def test_content_is_private_and_not_writable(self, store, tmp_path):
        store.put(sha(b"abc"), b"abc")
        blobs = tmp_path / ".titan" / "assets"
        assert stat.S_IMODE(blobs.stat().st_mode) == 0o700
        assert stat.S_IMODE((blobs / sha(b"abc")).stat().st_mode) == 0o400

    def test_content_that_is_not_what_it_says(self, store):
        with pytest.raises(ChecksumMismatch):
            store.put(sha(b"abc"), b"abd")
        assert not store.has(sha(b"abc"))

    def test_content_that_is_not_here(self, store):
        with pytest.raises(AssetMissing) as caught:
            store.open(sha(b"abc"))
        assert caught.value.details == {"missing": sha(b"abc")}

    @pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63, "a" * 65, "a" * 64 + "\n"])
    def test_what_is_no_sha256(self, store, name):
        for ask in (store.has, store.open, lambda name: store.put(name, b""), lambda name: store.publish("x", name)):
            with pytest.raises(InvalidRequest):
                ask(name)


class TestReceive:
    def test_content_and_name(self, store, files):
        data = os.urandom(100_000)
        info = store.receive(
            "lib/data.bin", sha(data), len(data), (data[n : n + 7777] for n in range(0, 100_000, 7777))
        )
        assert (info.name, info.sha256, info.size) == ("lib/data.bin", sha(data), 100_000)
        assert info.modified_wall == (files / "lib/data.bin").stat().st_mtime
        assert (files / "lib/data.bin").read_bytes() == content(store, sha(data)) == data

    def test_content_only(self, store, files):
        assert store.receive("", sha(b"abc"), 3, [b"abc"]).name == ""
        assert store.has(sha(b"abc"))
        assert list(files.iterdir()) == []

    def test_empty_content(self, store, files):
        assert store.receive("marker", sha(b""), 0, [b""]).size == 0
        assert (files / "marker").read_bytes() == b""

    def test_replaces_what_has_the_name(self, store, files):
        store.receive("a", sha(b"one"), 3, [b"one"])
        store.receive("a", sha(b"two"), 3, [b"two"])
        assert (files / "a").read_bytes() == b"two"
        assert content(store, sha(b"one")) == b"one"

    @pytest.mark.parametrize(
        ("size", "pieces", "error"),
        [
            (3, [b"ab"], "2 of the 3 bytes"),
            (3, [], "0 of the 3 bytes"),
            (3, [b"ab", b"cd"], "more than the 3 bytes"),
            (3, [b"abd"], "send it again"),
            (1_000_001, [], "size is"),
            (-1, [], "size is"),
        ],
    )
    def test_bytes_that_are_not_those_announced(self, store, files, tmp_path, size, pieces, error):
        with pytest.raises((InvalidRequest, ChecksumMismatch), match=error):
            store.receive("a", sha(b"abc"), size, pieces)
        assert not store.has(sha(b"abc"))
        assert list(files.iterdir()) == []
        assert nothing_half_done(files, tmp_path)

    def test_stops_at_the_first_byte_too_many(self, store):
        taken = []
        with pytest.raises(InvalidRequest):
            store.receive("", sha(b"abc"), 3, (taken.append(n) or b"xx" for n in range(1000)))
        assert len(taken) == 2

    def test_a_sender_that_goes_away(self, store, files, tmp_path):
        def pieces():
            yield b"abc"
            raise ConnectionResetError

        with pytest.raises(ConnectionResetError):
            store.receive("a", sha(b"abcdef"), 6, pieces())
        assert nothing_half_done(files, tmp_path)

    @pytest.mark.parametrize(
        "name",
        ["/etc/x", "../x", "a/../x", "a\0b", "a\nb", "x" * 10_000, ".hidden", "a/.b", "\ud800", "a//b", "a\\b"],
    )
    def test_names_that_can_not_be_used(self, store, files, name):
        with pytest.raises(InvalidRequest):
            store.receive(name, sha(b"abc"), 3, [b"abc"])
        assert list(files.iterdir()) == []

    @pytest.mark.parametrize("name", ["a.py", "deep/er/a.py", "größe.txt", "🚀", "-rf", "a b", "x" * 255])
    def test_names_that_can(self, store, files, name):
        store.receive(name, sha(b"abc"), 3, [b"abc"])
        assert (files / name).read_bytes() == b"abc"

    @pytest.mark.parametrize("name", ["dir", "file/below", "file/further/below"])
    def test_names_that_are_in_the_way_of_others(self, store, files, name):
        (files / "dir").mkdir()
        (files / "file").touch()
        with pytest.raises(Conflict):
            store.check_upload(name, sha(b"abc"), 3)
        with pytest.raises(Conflict):
            store.receive(name, sha(b"abc"), 3, [b"abc"])

    def test_links_do_not_lead_an_upload_out(self, store, files, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (files / "link").symlink_to(outside)
        with pytest.raises(InvalidRequest, match="leads out"):
            store.receive("link/x", sha(b"abc"), 3, [b"abc"])
        assert list(outside.iterdir()) == []

    def test_a_link_of_the_same_name_is_replaced_not_followed(self, store, files, tmp_path):
        outside = write(tmp_path / "outside", b"theirs")
        (files / "a").symlink_to(outside)
        store.receive("a", sha(b"abc"), 3, [b"abc"])
        assert outside.read_bytes() == b"theirs"
        assert not (files / "a").is_symlink()

    def test_what_a_crash_left_is_swept_at_the_next_start(self, store, files, tmp_path):
        blobs = tmp_path / ".titan" / "assets"
        for directory in (files, blobs):
            (directory / ".incoming-1234").touch()
        AssetStore(files, blobs)
        assert nothing_half_done(files, tmp_path)


class TestResolve:
    def test_by_path_base_name_and_end_of_a_path(self, store, files):
        write(files / "etl" / "jobs" / "extract.py", b"x")
        ref = AssetRef("etl/jobs/extract.py", sha(b"x"), 1)
        for name in ("etl/jobs/extract.py", "jobs/extract.py", "extract.py"):
            assert store.resolve(name) == ref
        assert content(store, ref.sha256) == b"x"

    def test_a_direct_file_goes_before_those_in_directories(self, store, files):
        write(files / "a.py", b"top")
        write(files / "sub" / "a.py", b"sub")
        assert store.resolve("a.py").sha256 == sha(b"top")

    def test_a_name_of_several_files(self, store, files):
        for n in range(7):
            write(files / f"d{n}" / "a.py", b"x")
        with pytest.raises(InvalidRequest, match=r"several files of perm_files/: d0/a.py, .*d4/a.py and 2 more"):
            store.resolve("a.py")
        assert store.resolve("d3/a.py").name == "d3/a.py"

    def test_part_of_a_file_name_is_not_the_end_of_a_path(self, store, files):
        write(files / "xa.py", b"x")
        with pytest.raises(NotFound):
            store.resolve("a.py")

    def test_a_missing_file_and_what_may_have_been_meant(self, store, files):
        write(files / "etl" / "extract.py", b"x")
        write(files / "load.py", b"x")
        with pytest.raises(NotFound, match=r"'extarct.py' in perm_files/; did you mean etl/extract.py\?"):
            store.resolve("extarct.py")
        with pytest.raises(NotFound, match="upload it"):
            store.resolve("zzz")

    def test_an_empty_file_can_be_read_but_not_run(self, store, files):
        write(files / "a.py", b"")
        with pytest.raises(InvalidRequest, match="empty"):
            store.resolve("a.py")
        assert store.find("a.py") == AssetRef("a.py", sha(b""), 0)

    def test_a_directory(self, store, files):
        write(files / "etl" / "extract.py", b"x")
        with pytest.raises(InvalidRequest, match="is a directory"):
            store.resolve("etl")

    def test_links(self, store, files, tmp_path):
        outside = write(tmp_path / "secret", b"x")
        write(files / "real.py", b"x")
        (files / "inside.py").symlink_to("real.py")
        (files / "outside.py").symlink_to(outside)
        (files / "broken.py").symlink_to("nothing")
        (files / "loop.py").symlink_to("loop.py")
        (files / "up").symlink_to(tmp_path)
        assert store.resolve("inside.py") == AssetRef("inside.py", sha(b"x"), 1)
        for name in ("outside.py", "up/secret"):
            with pytest.raises(InvalidRequest, match="leads out"):
                store.resolve(name)
        with pytest.raises(NotFound):
            store.resolve("secret")
        for name in ("broken.py", "loop.py"):
            with pytest.raises(NotFound, match="link"):
                store.resolve(name)

    def test_a_fifo_blocks_nobody(self, store, files):
        os.mkfifo(files / "pipe")
        with pytest.raises(InvalidRequest, match="not a regular file"):
            store.resolve("pipe")
        assert store.list() == []

    def test_hidden_files_are_not_found_by_searching(self, store, files):
        write(files / ".venv" / "a.py", b"x")
        with pytest.raises(NotFound):
            store.resolve("a.py")

    @pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a\0", "a\nb", "x" * 10_000, "\udcff", "."])
    def test_hostile_names(self, store, name):
        with pytest.raises(InvalidRequest):
            store.resolve(name)

    def test_edits_after_change_nothing(self, store, files):
        path = write(files / "a.py", b"before")
        ref = store.resolve("a.py")
        path.write_bytes(b"after!")
        assert content(store, ref.sha256) == b"before"
        assert store.resolve("a.py").sha256 == sha(b"after!")

    def test_an_edit_that_keeps_size_and_time_is_seen(self, store, files):
        path = write(files / "a.py", b"before")
        then = path.stat().st_mtime_ns
        store.resolve("a.py")
        path.write_bytes(b"after!")
        os.utime(path, ns=(then, then))
        assert store.resolve("a.py").sha256 == sha(b"after!")

    def test_a_file_is_hashed_once(self, store, files, monkeypatch):
        path = write(files / "a.py", b"x")
        monkeypatch.setattr("titan_core.store.assets._SETTLED_NS", 0)
        store.resolve("a.py")
        monkeypatch.setattr("hashlib.file_digest", None)
        assert store.resolve("a.py").sha256 == sha(b"x")
        assert [info.sha256 for info in store.list()] == [sha(b"x")]
        path.write_bytes(b"y")
        with pytest.raises(TypeError):
            store.resolve("a.py")

    def test_perm_files_may_itself_be_a_link(self, tmp_path):
        write(tmp_path / "real" / "a.py", b"x")
        (tmp_path / "link").symlink_to(tmp_path / "real")
        assert AssetStore(tmp_path / "link", tmp_path / "blobs").resolve("a.py").sha256 == sha(b"x")


def test_list(store, files, tmp_path):
    write(files / "b" / "x.py", b"x")
    write(files / "a.py", b"")
    write(files / ".hidden", b"x")
    write(files / ".git" / "x", b"x")
    write(files / "new\nline", b"x")
    (files / "out").symlink_to(write(tmp_path / "secret", b"x"))
    (files / "broken").symlink_to("nothing")
    assert [(info.name, info.sha256, info.size) for info in store.list()] == [
        ("a.py", sha(b""), 0),
        ("b/x.py", sha(b"x"), 1),
    ]
    assert store.list()[0].modified_wall == pytest.approx((files / "a.py").stat().st_mtime, abs=1e-5)


def test_many_threads_share_the_store(store, files, tmp_path):
    """Whatever the order: every file is whole, and is one of those that were sent."""
    versions = [bytes([65 + n]) * 50_000 for n in range(4)]
    failures: list[BaseException] = []

    def work(seed: int) -> None:
        dice = random.Random(seed)
        try:
            for _ in range(15):
                data = dice.choice(versions)
                store.receive("shared.bin", sha(data), len(data), [data[:20_000], data[20_000:]])
                assert content(store, store.resolve("shared.bin").sha256) in versions
                store.list()
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert (files / "shared.bin").read_bytes() in versions
    assert nothing_half_done(files, tmp_path)
