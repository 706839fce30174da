"""Workers that complete every attempt the moment it comes, without a process: what is left is the master's cost.

    python -m titan_test_suite.pytests.benchmarks.instant HOME PORT WORKERS SLOTS [FILE]

Each attempt adds a line `<job id> <wall instant at which it came>` to FILE.
"""

from __future__ import annotations

import os
import secrets
import selectors
import sys
import time
from pathlib import Path
from typing import TextIO

from titan_core.net.credentials import find_token
from titan_core.net.dial import dial
from titan_core.net.stream import RECEIVE_BYTES, FrameStream, decode_any, encode
from titan_core.protocol.messages import Heartbeat, Register, Registered, Result, StartAttempt
from titan_core.protocol.wire import Frame

LONGEST_S = 60.0


def main(home: str, port: str, workers: str, slots: str, file: str = "") -> None:
    token = find_token(home=Path(home))
    with open(file or os.devnull, "w", buffering=1) as record, selectors.DefaultSelector() as selector:
        for number in range(int(workers)):
            stream = dial("127.0.0.1", int(port), token, role="worker")
            _register(stream, number + 1, int(slots))
            _answer(stream, list(stream._frames), record)
            selector.register(stream._sock, selectors.EVENT_READ, stream)
        # One thread for all: what five hundred workers cost is to be the master's cost.
        while selector.get_map():
            for key, _ in selector.select():
                data = key.data._sock.recv(RECEIVE_BYTES)
                if data:
                    _answer(key.data, key.data._decoder.feed(data), record)
                else:
                    selector.unregister(key.fileobj)


def _register(stream: FrameStream, port: int, slots: int) -> None:
    """The port is a name here: nothing listens on it."""
    stream.send(Register(port, "instant", ("GENERAL",), slots, secrets.token_bytes(16)))
    stream.receive_message(Registered, LONGEST_S)


def _answer(stream: FrameStream, frames: list[Frame], record: TextIO) -> None:
    answers = []
    for frame in frames:
        message = decode_any(frame, frame.payload)
        if isinstance(message, StartAttempt):
            record.write(f"{message.job_id} {time.time()}\n")
            answers.append(encode(Result(message.token, "SUCCEEDED", 0)))
        elif isinstance(message, Heartbeat):
            answers.append(encode(Heartbeat()))
    stream.send_bytes(b"".join(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
