"""What a disk may hold after the power was cut: recorded from a real process, then made up anew for any instant.

A small library, compiled when it is needed and preloaded into a process, notes every write, truncation, removal
and flush of its database files, in order (`record`); it can also have flushes fail. `Disk` replays the notes: what
was flushed is certain; of what came after the last flush of a file any part may be there, in pieces of a sector, in
any order.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
FILES = ("state.db", "state.db-wal", "state.db-journal", "acknowledged")
"""By number, as in the notes; the last one is how the process says what it was told is on disk."""
ACKNOWLEDGED = FILES.index("acknowledged")
DIRECTORY = 255
_HEADER = struct.Struct("=cBQQ")

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *names[] = {"state.db", "state.db-wal", "state.db-journal", "acknowledged"};
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int notes = -1;
static char directory[4096];
static int flushes_left = -1;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("TITAN_NOTES");
    if (!path) return;
    notes = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    strncpy(directory, getenv("TITAN_NOTED_DIRECTORY"), sizeof directory - 1);
    if (getenv("TITAN_FLUSHES")) flushes_left = atoi(getenv("TITAN_FLUSHES"));
}

static int number(const char *path) {
    size_t length = strlen(directory);
    if (notes < 0 || strncmp(path, directory, length)) return -1;
    if (!path[length]) return 255;
    for (int i = 0; i < 4; i++)
        if (path[length] == '/' && !strcmp(path + length + 1, names[i])) return i;
    return -1;
}

static int file(int descriptor) {
    char link[64], path[4096];
    if (notes < 0) return -1;
    strcpy(link, "/proc/self/fd/");
    char digits[12]; int n = 0, d = descriptor;
    do digits[n++] = '0' + d % 10; while (d /= 10);
    char *end = link + strlen(link);
    while (n) *end++ = digits[--n];
    *end = 0;
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return -1;
    path[length] = 0;
    return number(path);
}

static void put(const void *data, size_t size) {
    while (size) {
        ssize_t n = syscall(SYS_write, notes, data, size);
        if (n <= 0) _exit(99);
        data = (const char *)data + n; size -= n;
    }
}

static void note(char kind, int of, uint64_t offset, uint64_t size, const void *data) {
    char header[18];
    header[0] = kind; header[1] = (char)of;
    memcpy(header + 2, &offset, 8); memcpy(header + 10, &size, 8);
    pthread_mutex_lock(&lock);
    put(header, sizeof header);
    if (data) put(data, size);
    pthread_mutex_unlock(&lock);
}

#define NEXT(name) __typeof__(&name) next = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset) {
    NEXT(pwrite64); int of = file(fd);
    if (of >= 0) note('W', of, offset, size, data);
    return next(fd, data, size, offset);
}
ssize_t write(int fd, const void *data, size_t size) {
    NEXT(write); int of = file(fd);
    if (of >= 0) note('W', of, lseek(fd, 0, SEEK_CUR), size, data);
    return next(fd, data, size);
}
int ftruncate64(int fd, off64_t size) {
    NEXT(ftruncate64); int of = file(fd);
    if (of >= 0) note('T', of, size, 0, 0);
    return next(fd, size);
}
int unlink(const char *path) {
    NEXT(unlink); int of = number(path);
    if (of >= 0) note('U', of, 0, 0, 0);
    return next(path);
}
static int flushed(int fd, int result) {
    int of = file(fd);
    if (of == 1 && flushes_left == 0) { errno = EIO; return -1; }
    if (of == 1 && flushes_left > 0) flushes_left--;
    if (!result && of >= 0) note('S', of, 0, 0, 0);
    return result;
}
int fsync(int fd) { NEXT(fsync); return flushed(fd, next(fd)); }
int fdatasync(int fd) { NEXT(fdatasync); return flushed(fd, next(fd)); }
"""


class Note(NamedTuple):
    kind: bytes
    """W: bytes written · T: cut to the length `offset` · U: removed · S: flushed."""
    file: int
    offset: int
    data: bytes


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def record(
    module: str, arguments: list[str], directory: Path, scratch: Path, flushes: int | None = None
) -> list[Note]:
    """Run `python -m module` to its end, and note what it does to the database files in `directory`.

    After so many `flushes` of the WAL, all further ones fail with an input/output error.
    """
    library, notes = scratch / "notes.so", scratch / "notes"
    source = scratch / "notes.c"
    source.write_text(_SOURCE)
    command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl", "-lpthread"]
    subprocess.run(command, check=True)
    noted = {"LD_PRELOAD": str(library), "TITAN_NOTES": str(notes), "TITAN_NOTED_DIRECTORY": str(directory)}
    if flushes is not None:
        noted["TITAN_FLUSHES"] = str(flushes)
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, env={**os.environ, **noted}, timeout=60)
    return list(_read(notes.read_bytes()))


def _read(text: bytes) -> Iterator[Note]:
    position = 0
    while position < len(text):
        kind, file, offset, size = _HEADER.unpack_from(text, position)
        position += _HEADER.size
        size = size if kind == b"W" else 0
        yield Note(kind, file, offset, text[position : position + size])
        position += size


class Disk:
    """The files as `take` has led them to be, and what a cut at this instant may leave of them."""

    def __init__(self) -> None:
        self._certain: dict[int, bytearray] = {}
        self._uncertain: dict[int, list[Note]] = {}
        self.acknowledged = 0
        """The last number the process said it was told about."""

    def take(self, note: Note) -> None:
        if note.file == ACKNOWLEDGED:
            self.acknowledged = int(note.data)
        elif note.file == DIRECTORY:
            for file in [file for file, notes in self._uncertain.items() if notes and notes[-1].kind == b"U"]:
                self._settle(file)
        else:
            before = self._uncertain.setdefault(note.file, [])
            if note.kind == b"S":
                self._settle(note.file)
            else:
                if before and before[-1].kind == b"U":  # a new file of that name: the old one is gone
                    self._settle(note.file)
                self._uncertain[note.file].append(note)

    def cut(self, dice: random.Random, directory: Path) -> None:
        """Write what may be left to `directory`: of the uncertain all, nothing, or any sectors in any order."""
        how = dice.choice(["all", "nothing", "prefix", "some", "some", "sectors", "sectors"])
        for file in {*self._certain, *self._uncertain}:
            image: bytearray | None = bytearray(self._certain[file]) if file in self._certain else None
            for note in _left(dice, how, self._uncertain.get(file, [])):
                image = _applied(image, note)
            if image is not None:
                (directory / FILES[file]).write_bytes(image)

    def _settle(self, file: int) -> None:
        image: bytearray | None = self._certain.pop(file, None)
        for note in self._uncertain.get(file, []):
            image = _applied(image, note)
        self._uncertain[file] = []
        if image is not None:
            self._certain[file] = image


def _left(dice: random.Random, how: str, notes: list[Note]) -> list[Note]:
    """Which of the uncertain notes came true."""
    if how in ("all", "nothing"):
        return notes if how == "all" else []
    if how == "prefix":
        return notes[: dice.randint(0, len(notes))]
    pieces = list(notes) if how == "some" else [piece for note in notes for piece in _sectors(note)]
    likely = dice.choice([0.1, 0.5, 0.9])
    left = [piece for piece in pieces if dice.random() < likely]
    dice.shuffle(left)
    return left


def _sectors(note: Note) -> Iterator[Note]:
    if note.kind != b"W":
        yield note
        return
    start = 0
    while start < len(note.data):
        stop = start + SECTOR - (note.offset + start) % SECTOR
        yield Note(b"W", note.file, note.offset + start, note.data[start:stop])
        start = stop


def _applied(image: bytearray | None, note: Note) -> bytearray | None:
    if note.kind == b"U":
        return None
    image = bytearray() if image is None else image
    end = note.offset + len(note.data)
    if note.kind == b"T":
        del image[note.offset :]
    if len(image) < end:
        image.extend(bytes(end - len(image)))
    image[note.offset : end] = note.data
    return image
