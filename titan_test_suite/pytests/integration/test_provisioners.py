"""Those who are asked for workers: HTTP servers that answer well, badly, slowly or not; programs that do the same."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from titan_core.errors import ProvisioningFailed
from titan_core.master import provisioners
from titan_core.master import webhook as webhooks
from titan_core.master.provisioners import CommandProvisioner, WebhookProvisioner
from titan_test_suite.pytests.support.endpoints import OK, Behaviour, Endpoint, answer, endless, says, until_closed
from titan_test_suite.pytests.support.waiting import wait_until

CLUSTER = bytes(range(16))
SECRET = b"hush"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time-outs and pauses that a test can wait for."""
    monkeypatch.setattr(webhooks, "CALL_S", 0.5)
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(provisioners, "COMMAND_S", 0.5)


# ── by HTTP ───────────────────────────────────────────────────────────────────────────────────────


def webhook(endpoint: Endpoint, secret: bytes = SECRET) -> WebhookProvisioner:
    return WebhookProvisioner(endpoint.url, secret, CLUSTER)


def refusal(action: Callable[[], None]) -> str:
    with pytest.raises(ProvisioningFailed) as failed:
        action()
    return failed.value.message


def test_what_is_wanted_is_posted_and_signed() -> None:
    with Endpoint(OK) as endpoint:
        webhook(endpoint).add("GPU", 2)
        webhook(endpoint).remove("box:8090", "GPU")
    added, removed = endpoint.calls
    assert added.line == "POST /scale?key=hidden HTTP/1.1"
    assert added.headers["Content-Type"] == "application/json"
    assert abs(int(added.headers["X-Titan-Timestamp"]) - time.time()) < 10
    for call in endpoint.calls:
        signed = call.headers["X-Titan-Timestamp"].encode() + b"." + call.body
        expected = f"sha256={hmac.new(SECRET, signed, hashlib.sha256).hexdigest()}"
        assert call.headers["X-Titan-Signature"] == expected
    asked, released = json.loads(added.body), json.loads(removed.body)
    assert len(asked.pop("id")) == 32 and asked.pop("sent").endswith("+00:00")
    assert asked == {"action": "add", "capability": "GPU", "count": 2, "cluster": CLUSTER.hex()}
    assert (released["action"], released["worker"], released["capability"]) == ("remove", "box:8090", "GPU")


def test_without_a_secret_nothing_is_signed() -> None:
    with Endpoint(OK) as endpoint:
        webhook(endpoint, b"").add("GENERAL", 1)
    assert "X-Titan-Signature" not in endpoint.calls[0].headers


def test_what_fails_for_now_is_tried_again_with_the_same_id() -> None:
    busy = answer("500 Internal Server Error", "busy")
    with Endpoint(busy, lambda connection: None, busy, OK) as endpoint:
        webhook(endpoint).add("GENERAL", 1)
    assert len(endpoint.calls) == 4
    assert len({call.body for call in endpoint.calls}) == 1


def test_what_goes_on_failing_is_given_up() -> None:
    with Endpoint(answer("503 Service Unavailable", "no\nroom\x1b[2J")) as endpoint:
        said = refusal(lambda: webhook(endpoint).add("GENERAL", 1))
    assert said == f"webhook {endpoint_name(said)} answered 503 Service Unavailable: no room [2J"
    assert len(endpoint.calls) == 4


def endpoint_name(said: str) -> str:
    """The address in the sentence, without what may be secret."""
    address = said.split()[1]
    assert address.startswith("http://127.0.0.1:") and address.endswith("/scale")
    return address


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "302 Found"])
def test_a_refusal_is_not_argued_with(status: str) -> None:
    with Endpoint(answer(status, "x" * 5000, "Location: http://127.0.0.1:1/")) as endpoint:
        said = refusal(lambda: webhook(endpoint).add("GENERAL", 1))
    assert f"answered {status}: xxx" in said
    assert len(said) < 400
    assert len(endpoint.calls) == 1


def test_a_refusal_without_words() -> None:
    with Endpoint(answer("403 Forbidden")) as endpoint:
        assert refusal(lambda: webhook(endpoint).add("GENERAL", 1)).endswith("answered 403 Forbidden")


@pytest.mark.parametrize(
    "behaviour, words",
    [
        (until_closed, "did not answer within 0.5 s"),
        (endless("HTTP/1.1 200 OK\r\n", "X: y\r\n", 0.05), "did not answer within 0.5 s"),
        (endless("", "HTTP/1.1 100 Continue\r\n\r\n"), "did not answer within 0.5 s"),
        (endless("HTTP/1.1 200 OK\r\n", "X: y\r\n"), "did not answer in HTTP"),
        (endless("HTTP/1.1 ", "x" * 1000), "did not answer in HTTP"),
        (says("SSH-2.0-OpenSSH_9.2\r\n"), "did not answer in HTTP"),
        (says("\0\xff\n\n"), "did not answer in HTTP"),
        (lambda connection: None, "closed the connection without an answer"),
    ],
    ids=["hang", "drip", "continue", "headers", "line", "ssh", "garbage", "closed"],
)
def test_a_server_that_does_not_answer(behaviour: Behaviour, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "PAUSES_S", (0.01,))
    began_at = time.monotonic()
    with Endpoint(behaviour) as endpoint:
        assert f"{words}; look at webhook_url" in refusal(lambda: webhook(endpoint).add("GENERAL", 1))
    assert time.monotonic() - began_at < 4
    assert len(endpoint.calls) == 2


@pytest.mark.parametrize("pause_s", [0.0, 0.05])
def test_a_body_that_never_ends_does_not_hide_the_answer(pause_s: float) -> None:
    chunked = "HTTP/1.1 {}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with Endpoint(endless(chunked.format("200 OK"), "1\r\nx\r\n", pause_s)) as endpoint:
        webhook(endpoint).add("GENERAL", 1)
    with Endpoint(endless(chunked.format("403 Forbidden"), "1\r\nx\r\n", pause_s)) as endpoint:
        assert "answered 403 Forbidden" in refusal(lambda: webhook(endpoint).add("GENERAL", 1))


def test_a_body_in_pieces_of_less_than_nothing_does_not_hide_the_answer() -> None:
    said = says("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n")
    with Endpoint(said) as endpoint:
        assert "answered 403 Forbidden" in refusal(lambda: webhook(endpoint).add("GENERAL", 1))


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://localhost:{closed.getsockname()[1]}/"
    said = refusal(lambda: WebhookProvisioner(url, b"", CLUSTER).add("GENERAL", 1))
    assert said.startswith(f"webhook {url} can not be reached: connection refused; look at webhook_url")


def test_a_host_that_can_not_be() -> None:
    said = refusal(lambda: WebhookProvisioner(f"http://{'a' * 70}.invalid/", b"", CLUSTER).add("GENERAL", 1))
    assert "can not be reached: " in said


def test_a_server_that_does_not_speak_tls() -> None:
    with Endpoint(OK) as endpoint:
        url = endpoint.url.replace("http:", "https:")
        assert "can not be reached: " in refusal(lambda: WebhookProvisioner(url, b"", CLUSTER).add("GENERAL", 1))


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    """A file with a key and a certificate for localhost that nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    path = str(tmp_path / "pem")
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True
    )
    with open(path, "a") as both:
        both.write(Path(f"{path}.crt").read_text())
    return path


def test_a_server_must_prove_who_it_is(certificate: str, monkeypatch: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with Endpoint(OK, context=context) as endpoint:
        url = endpoint.url.replace("http://127.0.0.1", "https://localhost")
        unknown = WebhookProvisioner(url, SECRET, CLUSTER)
        assert "certificate verify failed" in refusal(lambda: unknown.add("GENERAL", 1))
        assert endpoint.calls == []
        known = ssl.create_default_context(cafile=certificate)
        monkeypatch.setattr(ssl, "create_default_context", lambda: known)
        WebhookProvisioner(url, SECRET, CLUSTER).add("GENERAL", 1)
        assert len(endpoint.calls) == 1


@pytest.mark.parametrize("behaviour", [until_closed, endless("HTTP/1.1 200 OK\r\n", "X: y\r\n", 0.05)])
def test_a_server_that_hangs_behind_tls(
    certificate: str, behaviour: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, known = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=certificate)
    context.load_cert_chain(certificate)
    monkeypatch.setattr(ssl, "create_default_context", lambda: known)
    with Endpoint(behaviour, context=context) as endpoint:
        url = endpoint.url.replace("http://127.0.0.1", "https://localhost")
        said = refusal(lambda: WebhookProvisioner(url, SECRET, CLUSTER).add("GENERAL", 1))
        assert "did not answer within 0.5 s" in said
        monkeypatch.setattr(webhooks, "CALL_S", 60.0)
        cut(WebhookProvisioner(url, SECRET, CLUSTER), lambda: len(endpoint.calls) == 5)


def test_the_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    with Endpoint(OK) as endpoint:
        webhook(endpoint).add("GENERAL", 1)


def test_a_call_that_hangs_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "CALL_S", 60.0)
    with Endpoint(until_closed) as endpoint:
        cut(webhook(endpoint), lambda: bool(endpoint.calls))
        assert len(endpoint.calls) == 1


def test_after_the_end_nothing_is_called() -> None:
    with Endpoint(OK) as endpoint:
        ended = webhook(endpoint)
        ended.stop()
        ended.stop()
        refusal(lambda: ended.add("GENERAL", 1))
    assert endpoint.calls == []


def cut(provisioner: WebhookProvisioner | CommandProvisioner, hangs: Callable[[], bool]) -> None:
    """Stop it once it hangs: the call ends soon, and in vain."""
    refused: list[str] = []
    thread = threading.Thread(target=lambda: refused.append(refusal(lambda: provisioner.add("GENERAL", 1))))
    thread.start()
    wait_until(hangs)
    provisioner.stop()
    thread.join(5)
    assert not thread.is_alive() and refused


# ── programs ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Writes a program for bash; its path."""

    def write(text: str) -> str:
        path = tmp_path / "a script"
        path.write_text(f"#!/bin/bash\ncd '{tmp_path}'\n{text}\n")
        path.chmod(0o755)
        return f"'{path}'"

    yield write


def test_a_command_gets_its_values_in_its_words(script: Callable[[str], str], tmp_path: Path) -> None:
    program = script('printf "%s\\n" "$#" "$@" > said; readlink /proc/self/fd/0 >> said')
    CommandProvisioner(f"{program} 'a b' --name=x-{{capability}} {{count}} '$(id);' {{worker}}").add("C++.2_x-", 3)
    lines = (tmp_path / "said").read_text().splitlines()
    assert lines == ["5", "a b", "--name=x-C++.2_x-", "3", "$(id);", "{worker}", "/dev/null"]


def test_a_worker_that_is_released(script: Callable[[str], str], tmp_path: Path) -> None:
    released = CommandProvisioner("false", f"{script('echo $* > said')} {{worker}} {{capability}}")
    released.remove("box-1.example:8090", "GPU")
    assert (tmp_path / "said").read_text() == "box-1.example:8090 GPU\n"
    CommandProvisioner("false").remove("box:8090", "GPU")


def test_a_bad_end_is_told_with_its_last_words(script: Callable[[str], str]) -> None:
    program = script('echo out; echo first >&2; printf "no \\e[1mpartition\\n\\n" >&2; exit 3')
    said = refusal(lambda: CommandProvisioner(f"{program} x").add("GPU", 1))
    assert said.startswith("provision command `/") and said.endswith("…` ended with exit code 3: no [1mpartition")
    assert refusal(lambda: CommandProvisioner("x", "false").remove("w:1", "G")) == (
        "release command `false` ended with exit code 1"
    )
    assert refusal(lambda: CommandProvisioner(script("kill -9 $$")).add("GPU", 1)).endswith("exit code 137")


def test_what_a_command_prints_is_logged(
    script: Callable[[str], str], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level("INFO"):
        CommandProvisioner(script("seq 100000; echo Submitted batch job 17; echo careful >&2")).add("GPU", 1)
    (record,) = caplog.records
    assert record.getMessage().endswith("said: 99999 | 100000 | Submitted batch job 17 | careful")
    assert record.action == "scaling.output"  # type: ignore[attr-defined]
    assert "Submitted" not in capfd.readouterr().out


@pytest.mark.parametrize(
    "program, words",
    [
        ("titan-no-such-program x", "`titan-no-such-program …` can not be started: there is no such program here"),
        ("/etc/passwd", "`/etc/passwd` can not be started: Permission denied"),
        (f"echo {'x' * 200_000}", "can not be started: Argument list too long"),
    ],
)
def test_a_program_that_can_not_be_started(program: str, words: str) -> None:
    assert words in refusal(lambda: CommandProvisioner(program).add("GPU", 1))


@pytest.mark.parametrize("output", ["", "echo thinking >&2", "yes & yes >&2 &"], ids=["quiet", "words", "endless"])
def test_a_command_that_hangs_is_killed_with_all_it_started(
    script: Callable[[str], str], tmp_path: Path, output: str
) -> None:
    program = script(f"trap '' TERM; sleep 600 & echo $! $$ > pids; {output}\nwait")
    said = refusal(lambda: CommandProvisioner(program).add("GPU", 1))
    assert "did not end within 0.5 s and was killed" in said
    wait_until(lambda: not alive(tmp_path / "pids"), explain="it lives")


def test_a_command_that_hangs_is_cut(
    script: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioners, "COMMAND_S", 60.0)
    cut(CommandProvisioner(script("echo $$ > pids; sleep 600")), (tmp_path / "pids").exists)
    wait_until(lambda: not alive(tmp_path / "pids"))


def test_after_the_end_a_command_is_killed_at_once() -> None:
    ended = CommandProvisioner("sleep 600")
    ended.stop()
    assert "exit code 137" in refusal(lambda: ended.add("GPU", 1))


def test_what_a_command_leaves_behind_runs_on_and_is_not_waited_for(
    script: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(provisioners, "COMMAND_S", 60.0)
    began_at = time.monotonic()
    CommandProvisioner(script("sleep 600 & echo $! > pids; disown")).add("GPU", 1)
    assert time.monotonic() - began_at < 10
    assert alive(tmp_path / "pids")
    os.kill(int((tmp_path / "pids").read_text()), 9)


def alive(pids: Path) -> bool:
    """Whether any of these processes runs; a zombie does not."""
    states = [Path(f"/proc/{pid}/stat") for pid in pids.read_text().split()]
    return any(state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z" for state in states)
