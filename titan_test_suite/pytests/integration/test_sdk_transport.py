"""Connections of a client: shared, mended, given up, and never in the way of Ctrl-C."""

from __future__ import annotations

import os
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from titan_core import errors
from titan_core.net.stream import FrameStream
from titan_core.protocol.messages import (
    Ack,
    CancelJob,
    Cancelled,
    Explain,
    Explanation,
    GetRun,
    GetStats,
    RetryJob,
    RunStatus,
    StatsText,
)
from titan_core.protocol.opcodes import Opcode
from titan_core.protocol.wire import encode_body
from titan_sdk import TitanClient
from titan_sdk.errors import (
    ClientClosed,
    ConnectionFailed,
    ConnectionLost,
    InvalidRequest,
    NotAuthorised,
    ProtocolError,
)
from titan_test_suite.pytests.support.ports import free_port
from titan_test_suite.pytests.support.scripted_master import TOKEN, HangUp, ScriptedMaster
from titan_test_suite.pytests.support.waiting import wait_until


def echo(stream: FrameStream, request: Explain) -> Explanation:
    return Explanation(request.key, "job", "QUEUED", ("because",))


def test_one_connection_serves_many_requests(master: ScriptedMaster, client: TitanClient) -> None:
    master.on(Explain, echo)
    for number in range(20):
        assert client.explain(f"r{number}").run_id == f"r{number}"
    assert master.connections == 1


def test_sixteen_threads_share_a_client_and_get_their_own_answers(
    master: ScriptedMaster, client: TitanClient
) -> None:
    master.on(Explain, echo)
    keys = [f"key-{number}" for number in range(640)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda key: client.explain(key).run_id, keys))
    assert answers == keys
    assert master.connections <= 16


def test_a_pooled_connection_that_died_is_replaced_unseen(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetStats, StatsText("fine"))
    client.stats_text()
    master.drop_connections()
    wait_until(lambda: master.open_connections == 0)
    assert client.stats_text() == "fine"
    assert master.connections == 2


def test_a_pooled_connection_that_breaks_in_the_middle_is_tried_once_more(
    master: ScriptedMaster, client: TitanClient
) -> None:
    master.answer(GetStats, StatsText("one"), HangUp(), StatsText("two"))
    assert client.stats_text() == "one"
    assert client.stats_text() == "two"
    assert len(master.asked(GetStats)) == 3


def test_a_master_that_keeps_hanging_up_is_reported_after_the_second_try(
    master: ScriptedMaster, client: TitanClient
) -> None:
    master.answer(GetStats, StatsText("one"), HangUp())
    client.stats_text()
    with pytest.raises(ConnectionLost, match="closed the connection without an answer"):
        client.stats_text()
    assert len(master.asked(GetStats)) == 3


def test_a_request_that_must_not_be_repeated_is_sent_once(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetStats, StatsText("one"))
    master.answer(RetryJob, HangUp(), Ack("queued again"))
    client.stats_text()
    with pytest.raises(ConnectionLost):
        client.retry("job")
    assert len(master.asked(RetryJob)) == 1
    assert client.retry("job").text == "queued again"


def test_a_peer_that_hangs_up_inside_a_frame(master: ScriptedMaster, client: TitanClient) -> None:
    def half(stream: FrameStream, request: GetStats) -> None:
        stream.send_bytes(encode_body(Opcode.DATA, StatsText("x" * 100).encode())[:50])
        raise HangUp

    master.on(GetStats, half)
    with pytest.raises(ConnectionLost, match="in the middle of a frame"):
        client.stats_text()


def test_an_answer_of_several_frames_arrives_whole(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetStats, StatsText("x" * 3_000_000))
    assert len(client.stats_text()) == 3_000_000


def test_an_answer_that_comes_too_late_is_not_waited_for_twice(master: ScriptedMaster) -> None:
    released = threading.Event()

    def late(stream: FrameStream, request: GetStats) -> StatsText:
        released.wait(10)
        return StatsText("late")

    master.answer(Explain, Explanation("r", "j", "QUEUED"))
    master.on(GetStats, late)
    with TitanClient("127.0.0.1", master.port, token=TOKEN, timeout=0.2) as client:
        client.explain("j")
        with pytest.raises(ConnectionLost, match="nothing in time"):
            client.stats_text()
        assert len(master.asked(GetStats)) == 1
        released.set()


def test_an_answer_with_the_wrong_opcode_is_a_protocol_error(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(GetStats, Ack("?"))
    with pytest.raises(ProtocolError, match="opcode 0x50 where StatsText was expected"):
        client.stats_text()


SENT = sorted(set(errors.BY_CODE.values()) - {ConnectionLost}, key=lambda kind: kind.code)


@pytest.mark.parametrize("kind", SENT)
def test_every_error_of_the_master_is_raised_as_its_class(
    master: ScriptedMaster, client: TitanClient, kind: type[errors.TitanError]
) -> None:
    master.answer(CancelJob, kind("a sentence", job="extract", field="file"))
    with pytest.raises(kind) as caught:
        client.cancel("extract")
    assert type(caught.value) is kind
    assert caught.value.message == "a sentence"
    assert caught.value.details == {"job": "extract", "field": "file"}


def test_after_a_refusal_the_connection_goes_on(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(CancelJob, errors.NotFound("no such job"), Cancelled(("r/j",)))
    with pytest.raises(errors.NotFound):
        client.cancel("j")
    assert client.cancel("j").keys == ("r/j",)
    assert master.connections == 1


# ── who may talk to whom ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in [name for name in os.environ if name.startswith("TITAN_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(str(tmp_path))


def test_no_master_says_how_to_start_one(bare_environment: None) -> None:
    with TitanClient("127.0.0.1", free_port(), token=TOKEN) as client:
        with pytest.raises(ConnectionFailed, match=r"start one with: python -m titan_core\.master, or say where"):
            client.stats_text()


def test_no_master_is_said_before_no_token(bare_environment: None) -> None:
    with TitanClient("127.0.0.1", free_port()) as client:
        with pytest.raises(ConnectionFailed, match="start one with"):
            client.stats_text()


def test_no_token_says_how_to_pass_one(master: ScriptedMaster, bare_environment: None) -> None:
    with TitanClient("127.0.0.1", master.port) as client:
        with pytest.raises(NotAuthorised, match="--token-file FILE, TITAN_TOKEN, or TITAN_HOME"):
            client.stats_text()


def test_a_wrong_token_says_so(master: ScriptedMaster, bare_environment: None) -> None:
    with TitanClient("127.0.0.1", master.port, token="f" * 32) as client:
        with pytest.raises(NotAuthorised, match="the token is wrong"):
            client.stats_text()
    assert not master.requests


def test_the_token_is_found_in_the_home_and_the_master_by_its_file(
    master: ScriptedMaster, bare_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".titan").mkdir()
    (home / ".titan" / "token").write_text(TOKEN + "\n")
    (home / ".titan" / "master.json").write_text(f'{{"host": "127.0.0.1", "port": {master.port}}}')
    master.answer(GetStats, StatsText("found"))
    with TitanClient(home=home) as client:
        assert client.stats_text() == "found"


def test_the_port_of_another_program_is_recognised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def be_a_web_server() -> None:
            with listener.accept()[0] as peer:
                peer.recv(4096)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=be_a_web_server)
        thread.start()
        with TitanClient("127.0.0.1", listener.getsockname()[1], token=TOKEN) as client:
            with pytest.raises(ProtocolError, match="does not speak TITAN_PROTO"):
                client.stats_text()
        thread.join()


def test_an_address_may_name_its_port(master: ScriptedMaster) -> None:
    master.answer(GetStats, StatsText("here"))
    with TitanClient(f"127.0.0.1:{master.port}", token=TOKEN) as client:
        assert client.stats_text() == "here"


# ── leaving ───────────────────────────────────────────────────────────────────────────────────────


def test_ctrl_c_ends_a_wait_at_once_and_the_client_goes_on(master: ScriptedMaster, client: TitanClient) -> None:
    interrupted = threading.Event()

    def interrupt(stream: FrameStream, request: GetRun) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        interrupted.wait(10)
        raise HangUp

    master.on(GetRun, interrupt)
    master.answer(GetStats, StatsText("still here"))
    with pytest.raises(KeyboardInterrupt):
        client.wait("r")
    interrupted.set()
    assert client.stats_text() == "still here"


def test_closing_wakes_a_thread_that_waits(master: ScriptedMaster, client: TitanClient) -> None:
    asked, released = threading.Event(), threading.Event()

    def hold(stream: FrameStream, request: GetRun) -> RunStatus:
        asked.set()
        released.wait(10)
        raise HangUp

    master.on(GetRun, hold)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, "r")
        assert asked.wait(5)
        client.close()
        assert isinstance(waiting.exception(5), ClientClosed)
        released.set()


def test_a_closed_client_says_so(client: TitanClient) -> None:
    client.close()
    client.close()
    with pytest.raises(ClientClosed):
        client.stats_text()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_leaves_the_connections_of_its_parent_alone(
    master: ScriptedMaster, client: TitanClient
) -> None:
    master.on(Explain, echo)
    client.explain("parent")
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if client.explain("child").run_id == "child" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert client.explain("parent again").run_id == "parent again"
    assert master.connections == 2


@pytest.mark.parametrize("key", ["", None, 3, "\udc80"])
def test_a_key_that_is_none_gets_a_sentence(client: TitanClient, key: object) -> None:
    with pytest.raises(InvalidRequest, match=r"named by a string|not valid UTF-8"):
        client.job(key)  # type: ignore[arg-type]
