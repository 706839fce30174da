"""A project folder as an archive: the same bytes for the same files, and nothing that does not belong."""

from __future__ import annotations

import os
import socket
import zipfile
from pathlib import Path

import pytest

from titan_core.errors import InvalidRequest, NotFound
from titan_core.store.archive import DEFAULT_LIMITS, inspect, unpack
from titan_sdk import project
from titan_sdk.project import pack_project, project_entries


def build(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def names(folder: Path) -> list[str]:
    return [entry.name for entry in project_entries(folder)]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    files = {"b.py": "print(2)\n", "a/main.py": "print(1)\n", "a.py": "x = 1\n" * 1000}
    one = build(tmp_path / "one", files)
    two = build(tmp_path / "two", dict(reversed(files.items())))
    os.utime(two / "b.py", (0, 0))
    (two / "b.py").chmod(0o600)
    assert pack_project(one, tmp_path / "1.zip") == pack_project(two, tmp_path / "2.zip") == 3
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


def test_an_archive_unpacks_to_what_was_packed(tmp_path: Path) -> None:
    folder = build(tmp_path / "p", {"run.sh": "#!/bin/sh\n", "lib/a.py": "x = 1\n", "grüße 🚀.txt": "hello\n"})
    (folder / "run.sh").chmod(0o750)
    (folder / "out").mkdir()
    pack_project(folder, tmp_path / "p.zip")
    assert inspect(tmp_path / "p.zip") == ("grüße 🚀.txt", "lib/a.py", "run.sh")
    unpack(tmp_path / "p.zip", tmp_path / "unpacked")
    assert (tmp_path / "unpacked/lib/a.py").read_text() == "x = 1\n"
    assert (tmp_path / "unpacked/grüße 🚀.txt").read_text() == "hello\n"
    assert (tmp_path / "unpacked/out").is_dir()
    assert os.access(tmp_path / "unpacked/run.sh", os.X_OK)
    assert not os.access(tmp_path / "unpacked/lib/a.py", os.X_OK)


def test_the_limits_are_those_of_the_workers() -> None:
    assert DEFAULT_LIMITS.entries >= project.MAX_ENTRIES
    assert DEFAULT_LIMITS.total_bytes >= project.MAX_BYTES


def test_what_machines_leave_behind_is_left_out(tmp_path: Path) -> None:
    kept = ["main.py", "sub/other.py"]
    build(tmp_path, dict.fromkeys(kept, "x"))
    left_out = [
        "__pycache__/main.cpython-311.pyc", "sub/__pycache__/x", "old.pyc", ".git/HEAD", ".venv/bin/python",
        "venv/lib/x.py", "env-of-mine/pyvenv.cfg", "env-of-mine/lib/x.py", ".titan/token", "perm_files/big.zip",
        "titan_workspace/jobs/x", ".titanignore",
    ]  # fmt: skip
    build(tmp_path, dict.fromkeys(left_out, "# nothing"))
    assert names(tmp_path) == kept


def test_perm_files_of_no_titan_home_is_a_folder_like_any_other(tmp_path: Path) -> None:
    assert names(build(tmp_path, {"perm_files/a.py": "x"})) == ["perm_files/a.py"]


def test_titanignore_leaves_out_what_it_lists(tmp_path: Path) -> None:
    ignore = "\n".join(["# data", "", "*.csv", "data/", "/notes.txt", "docs/*.md", "log?.tx[tu]  "])
    build(tmp_path, {".titanignore": ignore})
    kept = ["docs/code.py", "keep/notes.txt", "main.py", "sub/data"]
    left_out = [
        "a.csv",
        "sub/b.csv",
        "data/x.py",
        "sub2/data/y.py",
        "notes.txt",
        "docs/a.md",
        "docs/deep/b.md",
        "log1.txt",
    ]
    build(tmp_path, dict.fromkeys([*kept, *left_out], "x"))
    assert [name for name in names(tmp_path) if not name.endswith("/")] == kept


def test_a_pattern_that_takes_back_is_refused_with_its_line(tmp_path: Path) -> None:
    build(tmp_path, {".titanignore": "*.csv\n!keep.csv\n", "a.py": "x"})
    with pytest.raises(InvalidRequest, match=r"\.titanignore:2: '!keep\.csv' can not be used"):
        names(tmp_path)


def test_a_link_inside_the_folder_is_the_file_it_leads_to(tmp_path: Path) -> None:
    folder = build(tmp_path / "p", {"real.py": "print(1)\n"})
    (folder / "link.py").symlink_to("real.py")
    pack_project(folder, tmp_path / "p.zip")
    with zipfile.ZipFile(tmp_path / "p.zip") as archive:
        assert archive.read("link.py") == b"print(1)\n"


def outside(folder: Path) -> None:
    (folder / "x").symlink_to(folder.parent / "outside.txt")


def nowhere(folder: Path) -> None:
    (folder / "x").symlink_to("nothing")


def itself(folder: Path) -> None:
    (folder / "x").symlink_to("x")


def directory(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "x").symlink_to("sub")


def fifo(folder: Path) -> None:
    os.mkfifo(folder / "x")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (outside, "x is a link that leaves the project"),
        (nowhere, "x is a link that leads nowhere"),
        (itself, "x is a link that leads nowhere"),
        (directory, "x is a link to a directory"),
        (fifo, "x is not a regular file"),
    ],
)
def test_what_can_not_be_packed_is_named_and_may_be_ignored(tmp_path: Path, make: object, problem: str) -> None:
    folder = build(tmp_path / "p", {"main.py": "x"})
    (tmp_path / "outside.txt").write_text("secret")
    make(folder)  # type: ignore[operator]
    with pytest.raises(InvalidRequest, match=problem + r".*\.titanignore"):
        names(folder)
    (folder / ".titanignore").write_text("x\n")
    assert "main.py" in names(folder) and "x" not in names(folder)


@pytest.mark.parametrize("name", ["a\nb.py", "a\\b.py", "\udcff.py"])
def test_names_that_no_worker_takes_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidRequest, match="is not a file name"):
        names(tmp_path)


def test_a_file_that_vanishes_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "p", {"a.py": "x", "b.py": "x"})
    entries = list(project_entries(folder))
    (folder / "b.py").unlink()
    monkeypatch.setattr(project, "project_entries", lambda folder: iter(entries))
    with pytest.raises(InvalidRequest, match=r"b\.py can not be read: No such file"):
        pack_project(folder, tmp_path / "p.zip")


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = build(tmp_path / "p", {"a.py": "x" * 60, "b.py": "x" * 60})
    monkeypatch.setattr(project, "MAX_BYTES", 100)
    with pytest.raises(InvalidRequest, match="more than 100 bytes"):
        pack_project(folder, tmp_path / "p.zip")
    monkeypatch.setattr(project, "MAX_ENTRIES", 1)
    with pytest.raises(InvalidRequest, match="holds 2 files; 1 is the most"):
        pack_project(folder, tmp_path / "p.zip")


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no folder"):
        pack_project(tmp_path / "nothing", tmp_path / "p.zip")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="is a file where a folder is meant"):
        pack_project(tmp_path / "file", tmp_path / "p.zip")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidRequest, match="holds no files that could be sent"):
        pack_project(tmp_path / "empty", tmp_path / "p.zip")


def test_a_socket_in_the_folder_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        with pytest.raises(InvalidRequest, match="is not a regular file"):
            names(tmp_path)
