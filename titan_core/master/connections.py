"""What happens on a connection, frame by frame: a client's requests, or the session of a worker.

Each connection has a thread of its own, and these functions are what it runs. A request that is
refused gets an ERROR and the connection goes on; bytes that are not the protocol end it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from titan_core.errors import ConnectionLost, FrameTooLarge, InternalError, InvalidRequest, ProtocolError, TitanError
from titan_core.master.backup import Backups
from titan_core.master.collectors import Collectors
from titan_core.master.engine import Engine
from titan_core.master.handlers import Handlers
from titan_core.master.logs import LogStore
from titan_core.master.sessions import Identity, Session, Timing
from titan_core.net.server import error_message
from titan_core.net.stream import FrameStream, decode_any
from titan_core.protocol import messages
from titan_core.protocol.checks import (
    MAX_CAPABILITIES,
    MAX_SERVICES,
    MAX_SLOTS,
    check_capability,
    check_range,
    shortened,
)
from titan_core.protocol.codec import Message
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import MAX_NATIVE, Flag, Frame, encode_frame
from titan_core.scheduler.events import (
    AttemptReport,
    AttemptsFinished,
    ServiceReady,
    SpawnFailed,
    WorkerRegistered,
    WorkerSaidGoodbye,
    WorkerTroubleChanged,
)
from titan_core.scheduler.model import WorkerInfo
from titan_core.scheduler.states import Outcome
from titan_core.store.assets import AssetStore
from titan_core.store.durability import Durability

log = logging.getLogger("titan.master")

SESSION_JOIN_S = 5.0
UPLOAD_BEGINS_S = 60.0
"""How long a client may take from the word that its upload is welcome to the first byte of it."""


class Connections:
    """Serves authenticated native connections; `serve` is the body of a connection's thread."""

    def __init__(
        self,
        engine: Engine,
        handlers: Handlers,
        assets: AssetStore,
        logs: LogStore,
        timing: Timing,
        identity: Identity,
        store: Durability,
        missed: Callable[[str], list[messages.ForgetRuns]],
        backups: Backups,
        collectors: Collectors,
    ) -> None:
        self._engine = engine
        self._handlers = handlers
        self._assets = assets
        self._logs = logs
        self._timing = timing
        self._identity = identity
        self._store = store
        self._missed = missed
        self._backups = backups
        self._collectors = collectors

    def serve(self, stream: FrameStream, role: str) -> None:
        """Answer requests, in order, until the peer closes; a REGISTER turns the connection into a session."""
        while (frame := stream.receive()) is not None:
            if frame.opcode == Opcode.REGISTER:
                self._serve_worker(stream, frame)
                return
            self._serve_request(stream, frame)

    # ── clients ───────────────────────────────────────────────────────────────────────────────────

    def _serve_request(self, stream: FrameStream, frame: Frame) -> None:
        body = stream.receive_body(frame)  # if it is broken off, where the next request begins can not be told
        try:
            request = decode_any(frame, body)
            if isinstance(request, messages.UploadAsset):
                reply: Message = self._receive_asset(stream, request)
            elif isinstance(request, messages.FetchAsset):
                self._send_asset(stream, request)
                return
            elif isinstance(request, messages.Backup):
                self._backups.send(stream)
                return
            elif isinstance(request, messages.AttachCollector):
                reply = self._collectors.attach(request, stream.peer_host)
            else:
                reply = self._handlers.answer(request)
        except (ConnectionLost, FrameTooLarge):
            raise  # as above, in the middle of an upload
        except TitanError as error:
            reply = error_message(error)
        except Exception:
            log.exception(
                "request 0x%02x of %s failed", frame.opcode, stream.peer, extra={"action": "request.failed"}
            )
            reply = error_message(InternalError())
        stream.send(reply)

    def _receive_asset(self, stream: FrameStream, request: messages.UploadAsset) -> Message:
        self._assets.check_upload(request.name, request.sha256, request.size)
        if self._assets.has(request.sha256):
            if request.name:
                self._assets.publish(request.name, request.sha256)
            return messages.UploadReply(True)
        stream.send(messages.UploadReply(False))
        first = stream.receive(UPLOAD_BEGINS_S)
        if first is None or first.opcode != Opcode.ASSET_DATA:
            raise ConnectionLost(f"{stream.peer} announced an upload and did not send it")
        pieces = stream.receive_pieces(first, limit=request.size)
        try:
            return self._assets.receive(request.name, request.sha256, request.size, pieces)
        finally:
            for _ in pieces:  # a refused upload is read to its end, so that the refusal finds its reader
                continue

    def _send_asset(self, stream: FrameStream, request: messages.FetchAsset) -> None:
        """AssetInfo, then the bytes; nothing is sent before it is clear that the content is here."""
        found = self._assets.find(request.name) if request.name else None
        sha256 = found.sha256 if found else request.sha256
        file, size = self._assets.open(sha256)
        with file:
            stream.send(messages.AssetInfo(request.name, sha256, size))
            left = size
            while True:
                piece = file.read(min(MAX_NATIVE, left))
                left -= len(piece)
                more = left > 0 and bool(piece)
                flags = Flag.BINARY | Flag.MORE if more else Flag.BINARY
                stream.send_bytes(encode_frame(Opcode.ASSET_DATA, piece, flags))
                if not more:
                    return

    # ── workers ───────────────────────────────────────────────────────────────────────────────────

    def _serve_worker(self, stream: FrameStream, frame: Frame) -> None:
        register = messages.Register.decode(stream.receive_body(frame))
        try:
            session = self._open_session(stream, register)
        except TitanError as error:
            log.warning("worker at %s refused: %s", stream.peer, error, extra={"action": "worker.refused"})
            stream.send(error_message(error))
            return
        try:
            self._read_session(session)
        except (ConnectionLost, ProtocolError) as error:
            session.end(str(error))
        finally:
            session.stop()
            session.expect_no_more()
            session.join(SESSION_JOIN_S)
            self._engine.close_session(session, stream.last_received_at)
            log.info("worker %s disconnected", session.worker_id, extra={"action": "worker.disconnected"})

    def _open_session(self, stream: FrameStream, register: messages.Register) -> Session:
        info = _worker_info(register, stream.peer_host)
        session = Session(info.worker_id, stream, self._logs, self._timing, self._identity, self._store)
        finished = tuple(map(_report, register.finished))
        missed = self._missed(info.worker_id)
        trouble = shortened(register.trouble)
        session.set_load(messages.Heartbeat(trouble=register.trouble))
        self._engine.open_session(
            session, WorkerRegistered(info, session.number, register.running, finished, trouble)
        )
        for message in (*missed, self._collectors.said()):
            session.put(message, 0)
        session.start()
        log.info(
            "worker %s connected: %s, %d slots",
            info.worker_id,
            ", ".join(register.capabilities),
            info.slots,
            extra={"action": "worker.connected"},
        )
        return session

    def _read_session(self, session: Session) -> None:
        reactions: dict[type[Message], Callable[[Any], object]] = {
            messages.ServiceReady: lambda m: self._engine.submit(_service_ready(session.worker_id, m)),
            messages.SpawnFailed: lambda m: self._on_spawn_failed(session, m),
            messages.LogBatch: session.keep_log,
            messages.Heartbeat: lambda m: self._on_heartbeat(session, m),
            messages.Goodbye: lambda m: self._on_goodbye(session),
        }
        stream = session.stream
        reports: list[AttemptReport] = []
        try:
            while (frame := stream.receive()) is not None:
                message = decode_any(frame, stream.receive_body(frame))
                if isinstance(message, messages.Result):
                    reports.append(_report(message))
                elif (reaction := reactions.get(type(message))) is None:
                    raise ProtocolError(f"{type(message).__name__} is not for a session")
                else:
                    if not isinstance(message, messages.LogBatch):  # a log's own result is yet to come
                        self._take_reports(session, reports)
                    reaction(message)
                if not stream.more_is_here:
                    self._take_reports(session, reports)
        finally:  # what came before something that is none of our protocol counts
            self._take_reports(session, reports)

    def _take_reports(self, session: Session, reports: list[AttemptReport]) -> None:
        """Those that came together, in one step."""
        taken = tuple(reports)
        reports.clear()
        if taken:
            self._engine.submit(AttemptsFinished(session.worker_id, taken))
            for report in taken:
                session.log_is_whole(report.token)

    def _on_spawn_failed(self, session: Session, failed: messages.SpawnFailed) -> None:
        reason = shortened(failed.reason)
        log.warning(
            "worker %s could not start one on port %d: %s",
            session.worker_id,
            failed.port,
            reason,
            extra={"action": "scaling.failed"},
        )
        self._engine.submit(SpawnFailed(session.worker_id, failed.port, reason))

    def _on_goodbye(self, session: Session) -> None:
        """Nothing is placed there any more; the answer comes after everything that was."""
        self._engine.submit(WorkerSaidGoodbye(session.worker_id))
        session.put(messages.Goodbye(), 0)

    def _on_heartbeat(self, session: Session, heartbeat: messages.Heartbeat) -> None:
        if heartbeat.trouble != session.load.trouble:
            trouble = shortened(heartbeat.trouble)
            self._engine.submit(WorkerTroubleChanged(session.worker_id, session.number, trouble))
            log.warning("worker %s: %s", session.worker_id, trouble or "can work", extra={"action": "worker.trouble"})
        session.set_load(heartbeat)
        if heartbeat.running:
            self._engine.kill_strays(session, heartbeat.running)


def _worker_info(register: messages.Register, peer_host: str) -> WorkerInfo:
    """Checked. Raises InvalidRequest."""
    check_range(register.port, 1, 65535, "port")
    check_range(register.slots, 1, MAX_SLOTS, "slots")
    check_range(register.max_services, 0, MAX_SERVICES, "max_services")
    if not register.capabilities:
        raise InvalidRequest("a worker needs at least one capability", field="capabilities")
    check_range(len(register.capabilities), 1, MAX_CAPABILITIES, "the number of capabilities")
    for capability in register.capabilities:
        check_capability(capability, "capability")
    host = register.hostname
    if not _is_host(host):
        raise InvalidRequest(f"{host!r} is not a host name; give the worker one with --hostname", field="hostname")
    address = register.address or peer_host
    if not _is_host(address):
        raise InvalidRequest(f"{address!r} is not an address; give the worker one with --address", field="address")
    return WorkerInfo(
        worker_id=f"{host}:{register.port}",
        instance=register.instance,
        capabilities=frozenset(register.capabilities),
        slots=register.slots,
        max_services=register.max_services,
        permanent=register.permanent,
        facts=replace(register, running=(), finished=()),
        ephemeral=register.ephemeral,
        parent=shortened(register.parent),
        address=address,
        cpu_count=max(1, register.cpu_count),
    )


def _is_host(text: str) -> bool:
    return bool(text) and len(text) <= 255 and all(char.isalnum() or char in "._-:%" for char in text)


def _service_ready(worker_id: str, ready: messages.ServiceReady) -> ServiceReady:
    """Raises ProtocolError for a port that there is not."""
    if not 0 <= ready.port <= 65535:
        raise ProtocolError(f"nothing listens on port {ready.port}")
    return ServiceReady(worker_id, ready.token, ready.port)


def _report(result: messages.Result) -> AttemptReport:
    """Raises ProtocolError for an outcome no worker may report."""
    try:
        outcome = Outcome(result.outcome)
    except ValueError:
        raise ProtocolError(f"{result.outcome!r} is not an outcome") from None
    if outcome is Outcome.LOST:
        raise ProtocolError("only the master can tell that an attempt is lost")
    return AttemptReport(result.token, outcome, result.exit_code, shortened(result.reason), result.peak_memory)
