"""Reading logs: chunk by chunk as the master holds them, following attempts as they come, or line by line."""

from __future__ import annotations

import codecs
import functools
from collections.abc import Iterable, Iterator
from dataclasses import replace

from titan_core.protocol.messages import GetLogs, LogChunk
from titan_sdk.polling import LONG_POLL_S, ask_patiently
from titan_sdk.transport import Transport


def log_chunks(
    transport: Transport, key: str, attempt: int = 0, follow: bool = False, tail_bytes: int = 0
) -> Iterator[LogChunk]:
    """What an attempt (0 = the latest) has printed, from the beginning or its last `tail_bytes`.

    With `follow`, goes on until the attempt is over; without a fixed attempt, until the job is final,
    so that a retry is followed too, from its beginning. Raises NotFound.
    """
    question: GetLogs | None = GetLogs(key, attempt, -tail_bytes, LONG_POLL_S if follow else 0.0)
    ask = transport.ask
    while question is not None:
        chunk = ask(question, LogChunk, wait_s=question.wait_s)
        if chunk.data or chunk.end:
            yield chunk
        question = _next(question, chunk, one_attempt=attempt > 0)
        ask = functools.partial(ask_patiently, transport)  # the master has answered once: it is worth waiting for


def _next(question: GetLogs, chunk: LogChunk, one_attempt: bool) -> GetLogs | None:
    """What to ask after `chunk`; None when nothing more is to come, or wanted."""
    follow = question.wait_s > 0
    key = f"{chunk.run_id}/{chunk.job_id}"  # from now on exactly this job, whatever `last` may become
    if not chunk.attempt:
        return replace(question, key=key, offset=0) if follow and not chunk.final else None
    if chunk.end:
        over = chunk.final or one_attempt or not follow
        return None if over else GetLogs(key, chunk.attempt + 1, 0, question.wait_s)
    if chunk.data or follow:
        return GetLogs(key, chunk.attempt, chunk.offset + len(chunk.data), question.wait_s)
    return None


def text_of(chunks: Iterable[LogChunk]) -> str:
    """The chunks as one text; what is not UTF-8 becomes U+FFFD."""
    return b"".join(chunk.data for chunk in chunks).decode(errors="replace")


def lines_of(chunks: Iterable[LogChunk]) -> Iterator[str]:
    """The chunks as lines without their ends, each as soon as it is complete, or its attempt is over."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    unfinished: list[str] = []
    for chunk in chunks:
        *complete, rest = decoder.decode(chunk.data, chunk.end).split("\n")
        for line in complete:
            yield "".join([*unfinished, line])
            unfinished.clear()
        unfinished.append(rest)
        if chunk.end and any(unfinished):
            yield "".join(unfinished)
            unfinished.clear()
    if any(unfinished):
        yield "".join(unfinished)
