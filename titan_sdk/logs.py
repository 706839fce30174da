"""Reading logs: chunk by chunk as the master holds them, following attempts as they come, or line by line."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

from titan_core.protocol.messages import GetLogs, LogChunk
from titan_sdk.patience import ask_patiently
from titan_sdk.polling import LONG_POLL_S
from titan_sdk.transport import Transport


def log_chunks(
    transport: Transport, key: str, attempt: int = 0, follow: bool = False, tail_bytes: int = 0
) -> Iterator[LogChunk]:
    """What an attempt (0 = the latest) has printed, from the beginning or its last `tail_bytes`.

    With `follow`, goes on until the attempt is over; without a fixed attempt, until the job is final,
    so that a retry is followed too, from its beginning. Raises NotFound.
    """
    wait_s = LONG_POLL_S if follow else 0.0
    question = GetLogs(key, attempt, -tail_bytes)
    chunk = transport.ask(question, LogChunk)
    while True:
        if chunk.data or chunk.end:
            yield chunk
        if _over(chunk, follow, one_attempt=attempt > 0):
            return
        question = _next(chunk, question.attempt, wait_s)
        chunk = ask_patiently(transport, question, LogChunk, wait_s)


def _over(chunk: LogChunk, follow: bool, one_attempt: bool) -> bool:
    """Whether nothing comes after `chunk`, or nothing that is wanted."""
    if chunk.end or not chunk.attempt:
        return chunk.final or not follow or (chunk.end and one_attempt)
    return not chunk.data and not follow


def _next(chunk: LogChunk, asked: int, wait_s: float) -> GetLogs:
    """What to ask after `chunk`, which came when the attempt `asked` was asked for."""
    key = f"{chunk.run_id}/{chunk.job_id}"  # from now on exactly this job, whatever `last` may become
    if not chunk.attempt:  # it has not begun
        return GetLogs(key, asked, 0, wait_s)
    if chunk.end:
        return GetLogs(key, chunk.attempt + 1, 0, wait_s)
    return GetLogs(key, chunk.attempt, chunk.offset + len(chunk.data), wait_s)


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
