"""A project folder as one archive: the same folder gives the same bytes, wherever and whenever it is packed.

Names are sorted, times fixed, modes reduced to the execute bit. Left out: `__pycache__`, `.git`,
`.titan`, `titan_workspace`, `*.pyc`, virtual environments (`.venv`, `venv`, and any directory with a
`pyvenv.cfg`), `perm_files` of a Titan home, and what the folder's `.titanignore` lists:

    # a comment                a line is a pattern; blank lines do not count
    *.csv                      without a slash: any file or directory of this name, at any depth
    data/                      with a slash at the end: directories only, with all they hold
    /notes.txt  docs/*.md      with another slash: the path from the folder; `*` also matches a slash

`*`, `?` and `[abc]` are those of `fnmatch`; patterns that take back (`!`) are refused. A link to a file
inside the folder is packed as that file; every other link is refused.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from titan_core.errors import InvalidRequest, NotFound
from titan_core.protocol.checks import check_path, shown
from titan_core.protocol.wire import MIB
from titan_sdk.local_files import opened

IGNORE_FILE = ".titanignore"
MAX_ENTRIES = 20_000
"""Files and empty directories of one project; workers unpack no more."""
MAX_BYTES = 2 * 1024 * MIB - 1
"""Of all its files together; workers unpack no more."""

_LEFT_OUT = frozenset({"__pycache__", ".git", ".venv", "venv", ".titan", "titan_workspace"})
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip archive can say."""
_INSTEAD = "; remove it, or list it in .titanignore"


class Pattern(NamedTuple):
    """One line of `.titanignore`."""

    glob: str
    anchored: bool
    """Compared with the path from the folder, not with the name alone."""
    directories_only: bool

    def matches(self, path: str, is_directory: bool) -> bool:
        subject = path if self.anchored else path.rpartition("/")[2]
        return (is_directory or not self.directories_only) and fnmatchcase(subject, self.glob)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, or an empty directory, of a project."""

    name: str
    """Its path from the folder, with `/`; ends in `/` for a directory."""
    path: Path
    executable: bool = False


def pack_project(folder: Path, target: Path) -> int:
    """Write the archive of `folder` to `target`; how many files it holds.

    Raises NotFound, and InvalidRequest for links out of it, special files, and what can not be read.
    """
    entries = list(project_entries(folder))
    files = sum(not entry.name.endswith("/") for entry in entries)
    if not files:
        raise InvalidRequest(f"{folder} holds no files that could be sent")
    left = MAX_BYTES
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in entries:
            left -= _write(archive, entry, left)
    return files


def project_entries(folder: Path) -> Iterator[Entry]:
    """What of `folder` belongs to the project, by name. Raises NotFound, InvalidRequest."""
    if not folder.is_dir():
        missing = not folder.exists()
        raise (NotFound if missing else InvalidRequest)(
            f"there is no folder {shown(str(folder))}" if missing else f"{folder} is a file where a folder is meant"
        )
    found = sorted(_walk(folder.resolve(), "", read_ignore_file(folder)), key=lambda entry: entry.name)
    if len(found) > MAX_ENTRIES:
        raise InvalidRequest(
            f"{folder} holds {len(found)} files; {MAX_ENTRIES} is the most: list what is not needed in .titanignore"
        )
    return iter(found)


def read_ignore_file(folder: Path) -> list[Pattern]:
    """The patterns of `.titanignore`, if there is one. Raises InvalidRequest with the line at fault."""
    file = folder / IGNORE_FILE
    if not file.is_file():
        return []
    with opened(file) as stream:
        lines = stream.read().decode(errors="replace").splitlines()
    stripped = ((number, line.strip()) for number, line in enumerate(lines, 1))
    return [_pattern(line, f"{file}:{number}") for number, line in stripped if line and not line.startswith("#")]


def _pattern(line: str, where: str) -> Pattern:
    glob = line.rstrip("/")
    if line.startswith("!") or not glob:
        raise InvalidRequest(
            f"{where}: {shown(line)} can not be used; patterns only leave out, they take nothing back"
        )
    return Pattern(glob.lstrip("/"), "/" in glob, line.endswith("/"))


# ── looking at the folder ─────────────────────────────────────────────────────────────────────────


def _walk(root: Path, below: str, patterns: list[Pattern]) -> Iterator[Entry]:
    """The entries of the directory `root/below`; `below` is empty, or ends in `/`."""
    here = root / below
    kept = [item for item in _listing(here) if not _ignored(item, below + item.name, here, patterns)]
    if not kept and below:
        yield Entry(check_path(below[:-1], "path") + "/", here)
    for item in kept:
        name = check_path(below + item.name, "path")
        if item.is_dir(follow_symlinks=False):
            yield from _walk(root, name + "/", patterns)
        else:
            yield _file(root, name)


def _listing(directory: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as found:
            return list(found)
    except OSError as error:
        raise InvalidRequest(f"{directory} can not be read: {error.strerror}") from None


def _ignored(item: os.DirEntry[str], path: str, directory: Path, patterns: list[Pattern]) -> bool:
    is_directory = item.is_dir(follow_symlinks=False)
    if is_directory and (item.name in _LEFT_OUT or (directory / item.name / "pyvenv.cfg").is_file()):
        return True
    if item.name == "perm_files" and (directory / ".titan").is_dir():
        return True
    if item.name.endswith(".pyc") or path == IGNORE_FILE:
        return True
    return any(pattern.matches(path, is_directory) for pattern in patterns)


def _file(root: Path, name: str) -> Entry:
    path = root / name
    try:
        resolved = path.resolve(strict=True)
        mode = resolved.stat().st_mode
    except (OSError, RuntimeError):
        what = "a link that leads nowhere" if path.is_symlink() else "gone while the project was packed"
        raise InvalidRequest(f"{path} is {what}{_INSTEAD}") from None
    if not resolved.is_relative_to(root):
        raise InvalidRequest(f"{path} is a link that leaves the project (to {resolved}){_INSTEAD}")
    if not stat.S_ISREG(mode):
        what = "a link to a directory" if stat.S_ISDIR(mode) else "not a regular file"
        raise InvalidRequest(f"{path} is {what}{_INSTEAD}")
    return Entry(name, path, bool(mode & 0o111))


# ── writing the archive ───────────────────────────────────────────────────────────────────────────


def _write(archive: zipfile.ZipFile, entry: Entry, most: int) -> int:
    """Add the entry; the bytes that it holds, which may be `most`."""
    info = zipfile.ZipInfo(entry.name, _EPOCH)
    info.create_system = 3  # unix: the mode counts
    if entry.name.endswith("/"):
        info.external_attr = (stat.S_IFDIR | 0o755) << 16
        archive.writestr(info, b"")
        return 0
    info.external_attr = (stat.S_IFREG | (0o755 if entry.executable else 0o644)) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    written = 0
    with opened(entry.path) as source, archive.open(info, "w") as sink:
        while piece := source.read(MIB):
            written += len(piece)
            if written > most:
                raise InvalidRequest(
                    f"the project holds more than {MAX_BYTES} bytes; list what is not needed in .titanignore"
                )
            sink.write(piece)
    return written
