"""Archives: what is unpacked, what is refused, and that nothing is left of what was refused."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from titan_core.errors import ArchiveRefused
from titan_core.store.archive import DEFAULT_LIMITS, ArchiveLimits, inspect, unpack


def info(name: str, mode: int = 0o644, kind: int = stat.S_IFREG) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (kind | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


@pytest.fixture
def make(tmp_path):
    """Writes an archive of (name or ZipInfo, content) pairs."""

    def make(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
        path = tmp_path / "project.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in entries:
                archive.writestr(entry, content)
        return path

    return make


def refused(path: Path, limits: ArchiveLimits = DEFAULT_LIMITS) -> str:
    """Why `unpack` refuses the archive; nothing may be left of it."""
    target = path.parent / "out" / "target"
    with pytest.raises(ArchiveRefused) as caught:
        unpack(path, target, limits)
    assert list(target.parent.iterdir()) == []
    assert path.name in str(caught.value)
    return str(caught.value)


def unpacked(path: Path) -> Path:
    target = path.parent / "out" / "target"
    unpack(path, target)
    assert [place.name for place in target.parent.iterdir()] == ["target"]
    return target


class TestWhatIsUnpacked:
    def test_files_and_directories_with_their_content(self, make):
        path = make((info("main.py"), b"print(1)"), (info("lib/deep/x.txt"), b""), (info("empty/", 0o755, 0), b""))
        target = unpacked(path)
        assert (target / "main.py").read_bytes() == b"print(1)"
        assert (target / "lib/deep/x.txt").read_bytes() == b""
        assert (target / "empty").is_dir()
        assert inspect(path) == ("main.py", "lib/deep/x.txt")

    def test_of_the_mode_only_the_execute_bit(self, make):
        target = unpacked(make((info("run.sh", 0o4777), b"#"), (info("data", 0o666), b"#")))
        umask = os.umask(0)
        os.umask(umask)
        assert stat.S_IMODE((target / "run.sh").stat().st_mode) == 0o755 & ~umask
        assert stat.S_IMODE((target / "data").stat().st_mode) == 0o644 & ~umask

    def test_an_archive_without_unix_modes(self, make):
        entry = zipfile.ZipInfo("main.py")
        entry.create_system, entry.external_attr = 0, 0x20
        assert (unpacked(make((entry, b"x"))) / "main.py").read_bytes() == b"x"

    def test_an_existing_target_is_left_as_it_is(self, make, tmp_path):
        target = tmp_path / "target"
        target.mkdir()
        (target / "theirs").touch()
        unpack(make((info("ours"), b"x")), target)
        assert [place.name for place in target.iterdir()] == ["theirs"]

    def test_names_in_other_alphabets(self, make):
        assert (unpacked(make((info("źródło/Größe 🚀.txt"), b"x"))) / "źródło/Größe 🚀.txt").exists()


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("../evil", "'..'"),
            ("a/../../evil", "'..'"),
            ("a/..", "'..'"),
            ("/etc/passwd", "absolute"),
            ("//host/share", "absolute"),
            ("a\\..\\evil", "backslash"),
            ("C:\\evil", "backslash"),
            ("a\nb", "control character"),
            ("a//b", "is not a path"),
            ("./a", "is not a path"),
            ("a/.", "is not a path"),
            ("x" * 300, "is not a path"),
            ("/".join(["x" * 100] * 20), "is not a path"),
        ],
    )
    def test_paths(self, make, name, reason):
        path = make((info("good.txt"), b"fine"), (info(name), b"evil"))
        assert reason in refused(path)
        with pytest.raises(ArchiveRefused, match=reason.replace(".", r"\.")):
            inspect(path)

    def test_a_nul_that_hides_the_rest_of_a_name(self, make):
        path = make((info("evil.py#.txt"), b"x"))
        path.write_bytes(path.read_bytes().replace(b"evil.py#.txt", b"evil.py\0.txt"))
        assert "control character" in refused(path)

    @pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
    def test_links_and_special_files(self, make, kind):
        reason = refused(make((info("link", 0o777, kind), b"/etc/passwd")))
        assert ("symbolic link" if kind == stat.S_IFLNK else "neither a regular file nor a directory") in reason

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    @pytest.mark.parametrize("names", [("a", "a"), ("a/", "a"), ("a", "a/"), ("d/", "d/")])
    def test_the_same_path_twice(self, make, names):
        assert "twice" in refused(make(*((info(name, kind=0), b"") for name in names)))

    @pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("a/b/c", "a/b")])
    def test_a_file_that_is_also_a_directory(self, make, names):
        assert "both a file and a directory" in refused(make(*((info(name), b"") for name in names)))

    def test_encrypted_entries(self, make):
        path = make((info("secret"), b"x" * 100))
        data = bytearray(path.read_bytes())
        data[data.index(b"PK\x01\x02") + 8] |= 1
        path.write_bytes(data)
        assert "is encrypted" in refused(path)

    def test_other_compression_methods(self, make):
        entry = info("x")
        entry.compress_type = zipfile.ZIP_LZMA
        assert "method 14" in refused(make((entry, b"x" * 100)))

    @pytest.mark.parametrize(
        "content", [b"", b"not a zip", b"PK\x05\x06" + b"\xff" * 18, b"PK\x03\x04" + b"\0" * 100]
    )
    def test_what_is_no_archive(self, tmp_path, content):
        path = tmp_path / "x.zip"
        path.write_bytes(content)
        assert "not a zip archive" in refused(path)

    def test_a_missing_archive_is_the_callers_mistake(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            unpack(tmp_path / "no.zip", tmp_path / "out" / "target")
        assert list((tmp_path / "out").iterdir()) == []


class TestCaps:
    def test_count(self, make):
        path = make(*((info(f"f{n}"), b"") for n in range(11)))
        assert "more than 10 files" in refused(path, ArchiveLimits(entries=10))
        assert len(inspect(path, ArchiveLimits(entries=12))) == 11

    def test_directories_that_paths_imply_are_counted(self, make):
        path = make((info("/".join("d" * 50) + "/x"), b""))
        assert "more than 50 files and directories" in refused(path, ArchiveLimits(entries=50))

    def test_total_size_claimed(self, make):
        path = make((info("a"), os.urandom(600)), (info("b"), os.urandom(600)))
        assert "it holds 1200 bytes" in refused(path, ArchiveLimits(total_bytes=1000))

    def test_ratio(self, make):
        path = make((info("zeros"), bytes(4 * 1024**2)))
        assert "more than 200 times its size" in refused(path)

    def test_small_files_may_compress_well(self, make):
        assert (unpacked(make((info("zeros"), bytes(900_000)))) / "zeros").stat().st_size == 900_000

    def test_a_bomb_of_entries_that_share_their_data(self, tmp_path):
        """Each entry is within the ratio; only all of them together are not."""
        path = tmp_path / "bomb.zip"
        path.write_bytes(overlapping(os.urandom(4096) + bytes(200_000), 20))
        reason = refused(path)
        assert "more than 200 times its size" in reason or "Overlapped" in reason  # newer zipfiles see it too

    def test_headers_that_claim_less_than_there_is(self, make):
        path = make((info("zeros"), bytes(4 * 1024**2)))
        path.write_bytes(claim(path.read_bytes(), file_size=10))
        assert "damaged" in refused(path)

    def test_headers_that_claim_less_with_a_fitting_checksum(self, make):
        """What is claimed is all that is written; the rest is never unpacked."""
        path = make((info("zeros"), bytes(4 * 1024**2)))
        path.write_bytes(claim(path.read_bytes(), file_size=10, crc=zlib.crc32(bytes(10))))
        assert (unpacked(path) / "zeros").read_bytes() == bytes(10)

    def test_headers_that_claim_more_than_there_is(self, make):
        path = make((info("short"), b"four"))
        path.write_bytes(claim(path.read_bytes(), file_size=1000))
        assert "shorter than it says" in refused(path)

    def test_a_directory_too_large_to_be_read(self, make):
        path = make(*((info(f"{n:04d}" + "x" * 200), b"") for n in range(3000)))
        assert "directory is" in refused(path, ArchiveLimits(entries=100))

    def test_entries_are_counted_before_they_are_read(self, tmp_path, monkeypatch):
        """Each takes 47 bytes of a file, and a thousand of memory."""
        path = tmp_path / "project.zip"
        path.write_bytes(overlapping(b"", 200))
        monkeypatch.setattr(zipfile, "ZipInfo", lambda *arguments: pytest.fail("an entry was read"))
        with pytest.raises(ArchiveRefused, match="more than 100 files and directories"):
            inspect(path, ArchiveLimits(entries=100))


def claim(data: bytes, file_size: int, crc: int | None = None) -> bytes:
    """A one-entry archive with another size (and checksum) in its headers."""
    changed = bytearray(data)
    for start, offset in ((0, 14), (data.index(b"PK\x01\x02"), 16)):
        if crc is not None:
            struct.pack_into("<I", changed, start + offset, crc)
        struct.pack_into("<I", changed, start + offset + 8, file_size)
    return bytes(changed)


def overlapping(content: bytes, count: int) -> bytes:
    """An archive whose entries all share the same data: each one's header takes those after it for an extra field."""
    single = io.BytesIO()
    with zipfile.ZipFile(single, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(info("file0000"), content)
    data = single.getvalue()
    size = 30 + len("file0000")
    entry = data[data.index(b"PK\x01\x02") : data.index(b"PK\x05\x06")]
    headers, entries = b"", b""
    for n in range(count):
        name, rest = b"file%04d" % n, (count - 1 - n) * size
        headers += data[:28] + struct.pack("<H", rest) + name
        entries += entry[:42] + struct.pack("<I", n * size) + name
    body = headers + data[size : data.index(b"PK\x01\x02")]
    return body + entries + struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, count, count, len(entries), len(body), 0)


def test_damaged_archives_are_refused_and_nothing_else(make, tmp_path):
    whole = make((info("a/b.txt"), b"text " * 50), (info("c.bin"), os.urandom(200)), (info("d/"), b"")).read_bytes()
    seed = random.randrange(2**32)
    print("seed", seed)
    dice = random.Random(seed)
    path = tmp_path / "mutated.zip"
    for round_number in range(400):
        data = bytearray(whole)
        for _ in range(dice.choice((1, 1, 2, 8))):
            data[dice.randrange(len(data))] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
        path.write_bytes(data[: dice.choice((len(data), len(data), dice.randrange(len(data))))])
        try:
            unpack(path, tmp_path / "out" / str(round_number))
        except ArchiveRefused:
            assert not (tmp_path / "out" / str(round_number)).exists()
    assert not [place for place in (tmp_path / "out").iterdir() if place.name.startswith(".")]


def test_processes_that_unpack_to_the_same_target(make, tmp_path):
    path = make(*((info(f"f{n}"), b"x" * n) for n in range(200)))
    target = tmp_path / "out" / "target"
    gate, opener = os.pipe()
    children = [_forked_unpack(path, target, gate, opener) for _ in range(4)]
    os.close(opener)  # all four go on at once
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    os.close(gate)
    assert [place.name for place in target.parent.iterdir()] == ["target"]


def _forked_unpack(path: Path, target: Path, gate: int, opener: int) -> int:
    """The pid of a process that unpacks when the gate opens; it exits with 0 if all is there afterwards."""
    child = os.fork()
    if child:
        return child
    os.close(opener)
    os.read(gate, 1)
    try:
        unpack(path, target)
        os._exit(len(list(target.iterdir())) - 200)
    finally:
        os._exit(1)
