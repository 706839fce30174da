"""What a worker and its fork server say to each other, on a socket of packets. Part of both programs.

◀─ JSON, once: {"modules": [name…], "packages": {directory: ns of its last change}}
─▶ <number of words> NUL <working directory> NUL <directory of imports> NUL <word…> NUL <NAME=value…> NUL
   and with it the descriptors of the log, of the script and, where the slot has one, of its cgroup
◀─ int32: the pid of the process; NO_PROCESS
"""

from __future__ import annotations

NO_PROCESS = 0
"""The system makes none: start the job without the server."""
MOST_BYTES = 64 * 1024
"""Of a packet."""
IMPOSSIBLE = 3
"""The exit code that says: not on this machine."""


def packet(directory: bytes, imports: bytes, command: list[bytes], variables: list[bytes]) -> bytes:
    """Empty: it can not be said."""
    words = [b"%d" % len(command), directory, imports, *command, *variables]
    whole = b"".join([word + b"\0" for word in words])
    return whole if len(whole) <= MOST_BYTES and whole.count(b"\0") == len(words) else b""
