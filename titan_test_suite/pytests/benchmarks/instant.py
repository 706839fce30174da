"""Workers that complete every attempt the moment it comes, without a process: what is left is the master's cost.

    python -m titan_test_suite.pytests.benchmarks.instant HOME PORT WORKERS SLOTS [FILE]

Each attempt adds a line `<job id> <wall instant at which it came>` to FILE.
"""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from titan_core.net.credentials import find_token
from titan_core.net.dial import dial
from titan_core.net.stream import FrameStream, decode, decode_any
from titan_core.protocol.messages import Heartbeat, Register, Registered, Result, StartAttempt


def main(home: str, port: str, workers: str, slots: str, file: str = "") -> None:
    token = find_token(home=Path(home))
    with open(file or os.devnull, "w", buffering=1) as record:  # line by line: SIGTERM may come at any time
        streams = [dial("127.0.0.1", int(port), token, role="worker") for _ in range(int(workers))]
        for number, stream in enumerate(streams):
            _register(stream, number + 1, int(slots))
        threads = [threading.Thread(target=_serve, args=(stream, record), daemon=True) for stream in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _register(stream: FrameStream, port: int, slots: int) -> None:
    """The port is a name here: nothing listens on it."""
    stream.send(Register(port, "instant", ("GENERAL",), slots, secrets.token_bytes(16)))
    frame = stream.receive()
    assert frame is not None
    decode(frame, stream.receive_body(frame), Registered)


def _serve(stream: FrameStream, record: TextIO) -> None:
    while (frame := stream.receive()) is not None:
        message = decode_any(frame, stream.receive_body(frame))
        if isinstance(message, StartAttempt):
            record.write(f"{message.job_id} {time.time()}\n")
            stream.send(Result(message.token, "SUCCEEDED", 0))
        elif isinstance(message, Heartbeat):
            stream.send(Heartbeat())


if __name__ == "__main__":
    main(*sys.argv[1:])
