"""Which jobs can begin as a copy of a fork server, and what it is asked for them.

Whatever a Python would look at before it runs a script is looked at here, where it costs less than in the server.
In a directory that was just made for the script (`Place.fresh`) nothing has to be looked for beside it.
"""

from __future__ import annotations

import itertools
import json
import marshal
import os
import stat
import struct
import sys
from collections.abc import Mapping
from typing import NamedTuple

from titan_core.worker.process import Launch
from titan_core.worker.warm_wire import HEAD, MOST_BYTES, ROOM_BYTES, Facts

_READ_AT_START = ("PYTHON", "LC_", "LD_", "MALLOC_", "GLIBC_")
_READ_AT_START_NAMES = ("HOME", "LANG", "LANGUAGE", "LOCPATH", "GCONV_PATH", "VIRTUAL_ENV")
"""Variables of which a Python makes, as it starts, what does not change any more. (Below HOME may be packages.)"""
_END_OF_ARCHIVE = 65_557
"""So many bytes before the end of a file there may be what tells that it is an archive."""


class Request(NamedTuple):
    """For one process."""

    packet: bytes
    script: int
    """Descriptor of the file; whoever has this closes it."""


class Fit:
    """For the jobs of a server that was started in this environment, and says this of itself, see `warm_wire`."""

    def __init__(self, environment: Mapping[str, str], said: bytes) -> None:
        facts = json.loads(said)
        self._settings = _settings(environment)
        self._modules = frozenset(facts["modules"])
        packages: dict[str, int] = facts["packages"]
        self._packages = [(place, changed) for place, changed in packages.items() if changed]
        self._missing = [place for place, changed in packages.items() if not changed]
        self._address: int = facts["address"]
        self._variables: list[str] = facts["variables"]

    def is_out_of_date(self) -> bool:
        """Whether something was installed or removed since the server has started."""
        try:
            for place, changed in self._packages:
                if os.stat(place).st_mtime_ns != changed:
                    return True
        except OSError:
            return True
        return any(map(os.path.isdir, self._missing))

    def request(self, launch: Launch) -> Request | None:
        """None: it is to start cold."""
        program, *rest = launch.command
        is_script = program == sys.executable and len(rest) > 1 and rest[0] == "-u" and rest[1].endswith(".py")
        if not is_script or launch.output < 0 or _settings(launch.env) != self._settings:
            return None
        try:
            script = _opened_source(os.path.join(launch.cwd, rest[1]))
        except (OSError, ValueError):
            return None  # a Python of its own says what there is to be said of it
        try:
            packet = self._packet(launch, os.path.dirname(os.readlink(f"/proc/self/fd/{script}")))
        except (OSError, ValueError):
            packet = b""
        if packet:
            return Request(packet, script)
        os.close(script)
        return None

    def _packet(self, launch: Launch, imports: str) -> bytes:
        """Empty: what is to be said can not be, or the script would see that it was. Raises OSError, ValueError."""
        beside = [os.path.basename(launch.command[2])] if launch.fresh else os.listdir(imports)
        if not self._modules.isdisjoint(name.partition(".")[0] for name in beside):
            return b""  # something would be imported from there that the server has imported already
        said = [*launch.command, *[f"{name}={value}" for name, value in launch.env.items()]]
        block = os.fsencode("\0".join([*said, *self._variables, ""]))
        strings = block.split(b"\0")
        strings.pop()
        if len(strings) != len(said) + len(self._variables) or len(block) > MOST_BYTES:
            return b""
        first = len(launch.command)
        places = [*itertools.accumulate([len(string) + 1 for string in strings], initial=self._address + HEAD.size)]
        padding = bytes(-places[-1] % 8)
        environ = places[-1] + len(padding)
        pointers = struct.pack(f"{len(strings) - first + 1}Q", *places[first:-1], 0)
        facts_at = environ + len(pointers) - self._address
        head = HEAD.pack(environ, places[0], places[first], places[len(said)], facts_at)
        environment = dict([string.split(b"=", 1) for string in strings[first:]])
        facts: Facts = (launch.cwd, imports, strings[2], launch.command, launch.command[2:], environment)
        packet = b"".join([head, block, padding, pointers, marshal.dumps(facts)])
        return packet if len(packet) <= ROOM_BYTES else b""


def _settings(environment: Mapping[str, str]) -> dict[str, str]:
    """What a Python that is started in this environment makes of it once and for all."""
    return {
        name: value
        for name, value in environment.items()
        if name in _READ_AT_START_NAMES or name.startswith(_READ_AT_START)
    }


def _opened_source(path: str) -> int:
    """A descriptor of it. Raises OSError, also if it is another thing that Python runs: a directory, an archive."""
    # A pipe, which somebody may have put in its place, is not waited for.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is no file")
        if b"PK\5\6" in os.pread(descriptor, _END_OF_ARCHIVE, max(0, status.st_size - _END_OF_ARCHIVE)):
            raise OSError(f"{path} is an archive")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
