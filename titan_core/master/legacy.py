"""Text clients: one frame in, one frame out, in the form of `protocol.text`. Served only with `--legacy-clients`.

Each text request is made into the native one and answered by the same handlers; what a text client
reads is the text of the reply, so refusals are texts too, beginning with `ERROR: `.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from titan_core.errors import InternalError, NotFound, TitanError
from titan_core.master.handlers import Handlers
from titan_core.net.server import answer_text
from titan_core.net.stream import FrameStream
from titan_core.protocol import messages, text
from titan_core.protocol.codec import Message
from titan_core.protocol.monitor import stats_json
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import Frame
from titan_core.store.assets import AssetStore

log = logging.getLogger("titan.master")

R = TypeVar("R", bound=Message)


class LegacyClients:
    """`serve` is the body of a text client's connection thread."""

    def __init__(self, handlers: Handlers, assets: AssetStore) -> None:
        self._handlers = handlers
        self._assets = assets
        self._requests: dict[int, Callable[[str], str]] = {
            Opcode.SUBMIT_JOB: lambda body: self._submit("job", text.parse_job(body), "JOB_ACCEPTED"),
            Opcode.SUBMIT_DAG: lambda body: self._submit("dag", text.parse_dag(body), "DAG_ACCEPTED"),
            Opcode.DEPLOY: self._deploy,
            Opcode.RUN: self._run,
            Opcode.STOP: self._stop,
            Opcode.STATS: lambda body: self._ask(messages.GetStats(), messages.StatsText).text,
            Opcode.STATS_JSON: self._stats_json,
            Opcode.KILL_WORKER: self._kill_worker,
            Opcode.GET_LOGS: self._logs,
            Opcode.UPLOAD_ASSET: lambda body: self._upload(body, "UPLOAD_SUCCESS"),
            Opcode.DEPLOY_SCRIPT: lambda body: self._upload(body, "DEPLOY_SUCCESS"),
            Opcode.FETCH_ASSET: self._fetch,
            Opcode.GET_JOB_STATUS: self._job_status,
            Opcode.CANCEL_JOB: lambda body: self._ask(text.parse_cancel(body), messages.Cancelled).text,
        }

    def serve(self, stream: FrameStream, first: Frame) -> None:
        """Answer requests until the peer closes; most close after one."""
        frame: Frame | None = first
        while frame is not None and not frame.binary:
            opcode, reply = self._answer(frame)
            answer_text(stream, reply, opcode)
            frame = stream.receive()

    def _answer(self, frame: Frame) -> tuple[Opcode, str]:
        try:
            request = self._requests.get(frame.opcode)
            if request is None:
                return Opcode.ERROR, f"ERROR: opcode 0x{frame.opcode:02X} is not served"
            return Opcode.ACK, request(frame.payload.decode())
        except UnicodeDecodeError:
            return Opcode.ERROR, "ERROR: the body is not UTF-8"
        except TitanError as error:
            return Opcode.ACK, f"ERROR: {error}"
        except Exception:
            log.exception("text request 0x%02x failed", frame.opcode, extra={"action": "request.failed"})
            return Opcode.ERROR, f"SERVER_ERROR: {InternalError()}"

    # ── submitting ────────────────────────────────────────────────────────────────────────────────

    def _submit(self, name: str, submission: text.Submission, accepted: str) -> str:
        self._start(name, submission)
        return accepted

    def _deploy(self, body: str) -> str:
        wanted = text.parse_deploy(body)
        if isinstance(wanted, messages.StartWorker):
            self._ask(wanted, messages.Ack)
        else:
            self._start("deploy", wanted)
        return "DEPLOY_QUEUED"

    def _run(self, body: str) -> str:
        submission = text.parse_run(body)
        self._start("run", submission)
        job = submission.jobs[0]
        return f"JOB_QUEUED {job.job_id} on {job.requirement}"

    def _start(self, name: str, submission: text.Submission) -> None:
        self._handlers.answer(messages.SubmitRun(name, submission.jobs, contents=submission.contents))

    # ── asking ────────────────────────────────────────────────────────────────────────────────────

    def _stats_json(self, body: str) -> str:
        return stats_json(self._ask(messages.GetClusterStatus(), messages.ClusterStatus))

    def _job_status(self, body: str) -> str:
        try:
            return self._ask(text.parse_get_job(body), messages.JobStatus).state
        except NotFound:
            return "NULL"

    def _logs(self, body: str) -> str:
        request, pieces = text.parse_get_logs(body), []
        while True:
            chunk = self._ask(request, messages.LogChunk)
            pieces.append(chunk.data)
            if not chunk.data:
                return b"".join(pieces).decode(errors="replace")
            request = replace(request, attempt=chunk.attempt, offset=chunk.offset + len(chunk.data))

    # ── stopping ──────────────────────────────────────────────────────────────────────────────────

    def _stop(self, body: str) -> str:
        return f"STOPPED: {self._ask(text.parse_stop(body), messages.Ack).text}"

    def _kill_worker(self, body: str) -> str:
        return f"SUCCESS: {self._ask(text.parse_kill_worker(body), messages.Ack).text}"

    # ── files ─────────────────────────────────────────────────────────────────────────────────────

    def _upload(self, body: str, accepted: str) -> str:
        announced, data = text.parse_upload(body)
        self._assets.receive(announced.name, announced.sha256, announced.size, [data])
        return accepted

    def _fetch(self, body: str) -> str:
        try:
            found = self._assets.find(text.parse_fetch(body).name)
        except NotFound:
            return "ERROR_NOT_FOUND"
        file, _ = self._assets.open(found.sha256)
        with file:
            return base64.b64encode(file.read()).decode()

    def _ask(self, request: Message, reply: type[R]) -> R:
        answer = self._handlers.answer(request)
        assert isinstance(answer, reply)
        return answer
