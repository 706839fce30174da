"""What a worker and its fork server say to each other, on a socket of packets. Part of both programs.

    ◀─ JSON, once: {"modules": [name…], "packages": {directory: ns of its last change},
                    "address": where the server puts each packet, "variables": [NAME=value…] that it has set itself}
    ─▶ a packet; with it the descriptors of the log, of the script and, where the slot has one, of its cgroup
    ◀─ int32: the pid of the process; NO_PROCESS

A packet is part of the memory of the process that it asks for, as the kernel would have laid that out. So it is made
for the place where it will be: the numbers in it are addresses.

    HEAD: where `environ`, the words, the variables and their end are, and at which offset the facts begin
    words of the command…       NAME=value…       NAME=value… of the server's own       a NUL after each
    `environ`: the address of each variable, and 0; begins at a multiple of 8
    the `Facts`, as `marshal` writes them
"""

from __future__ import annotations

import struct

NO_PROCESS = 0
"""The system makes none: start the job without the server."""
MOST_BYTES = 64 * 1024
"""Of words and variables."""
ROOM_BYTES = 4 * MOST_BYTES
"""For a packet, in which they are twice, and the second time in pieces."""
IMPOSSIBLE = 3
"""The exit code that says: not on this machine."""

HEAD = struct.Struct("5Q")
Facts = tuple[str, str, bytes, list[str], list[str], dict[bytes, bytes]]
"""Working directory, directory of imports, path of the script, `sys.orig_argv`, `sys.argv`, `os.environb`."""
