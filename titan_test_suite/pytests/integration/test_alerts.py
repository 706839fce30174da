"""Alerts against real servers: delivered, tried again, given up, and never in each other's way."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import hmac
import json
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from titan_core.errors import Unavailable
from titan_core.master import alerts
from titan_core.master import webhook as webhooks
from titan_core.master.alerts import PAUSES_S, AlertOrder, AlertSender
from titan_test_suite.pytests.support.endpoints import OK, Endpoint, answer, until_closed
from titan_test_suite.pytests.support.waiting import wait_until

CLUSTER = bytes(range(16))
SECRET = b"hush"
SLOT = 1764036000
BUSY = answer("500 Internal Server Error", "busy")
AT_ONCE = (0.01,) * 5
NEVER = (600.0,) * 5

Settled = queue.Queue[tuple[AlertOrder, str]]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "CALL_S", 0.5)


def order(url: str, slot: int = SLOT, event: str = "failure") -> AlertOrder:
    return AlertOrder(("nightly", "schedule", slot), event, url, {"schedule": "nightly", "slots": [slot, None]})


@contextlib.contextmanager
def sender(
    *orders: AlertOrder,
    pauses_s: tuple[float, ...] = AT_ONCE,
    secret: bytes = SECRET,
    settle: Callable[[bool], None] = lambda changed: None,
) -> Iterator[tuple[AlertSender, Settled]]:
    """A sender, which finds these orders when it starts, and what it settles."""
    settled: Settled = queue.Queue()
    alerter = AlertSender(secret, CLUSTER, lambda order, problem: settled.put((order, problem)), settle, pauses_s)
    for each in orders:
        alerter.put(each)
    alerter.start()
    yield alerter, settled
    alerter.stop()
    assert alerter.join(5) and not alerter.failed


def bodies(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [json.loads(call.body) for call in endpoint.calls]


def nobody() -> str:
    """A URL at which the connection is refused."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"http://127.0.0.1:{closed.getsockname()[1]}/"


def test_it_is_delivered_and_signed(caplog: pytest.LogCaptureFixture) -> None:
    with Endpoint(OK) as endpoint, caplog.at_level("INFO"):
        asked = order(endpoint.url)
        with sender(asked) as (_, settled):
            assert settled.get(timeout=5) == (asked, "")
    (call,), (body,) = endpoint.calls, bodies(endpoint)
    signed = call.headers["X-Titan-Timestamp"].encode() + b"." + call.body
    assert call.headers["X-Titan-Signature"] == f"sha256={hmac.new(SECRET, signed, hashlib.sha256).hexdigest()}"
    assert abs(int(call.headers["X-Titan-Timestamp"]) - time.time()) < 10
    assert len(body.pop("id")) == 32 and body.pop("sent").endswith("+00:00")
    assert body == {"schedule": "nightly", "slots": [SLOT, None], "cluster": CLUSTER.hex()}
    (record,) = caplog.records
    assert record.getMessage() == "schedule nightly, 2025-11-25T02:00:00Z: the alert 'failure' was sent"
    assert record.action == "alert.sent"  # type: ignore[attr-defined]


def test_without_a_secret_nothing_is_signed() -> None:
    with Endpoint(OK) as endpoint, sender(order(endpoint.url), secret=b"") as (_, settled):
        settled.get(timeout=5)
        assert "X-Titan-Signature" not in endpoint.calls[0].headers


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_fails_for_now_is_tried_again_with_the_same_id(status: int) -> None:
    busy = answer(f"{status} Busy")
    with Endpoint(busy, lambda connection: None, busy, busy, busy, OK) as endpoint:
        asked = order(endpoint.url)
        with sender(asked) as (_, settled):
            assert settled.get(timeout=5) == (asked, "")
        assert len(endpoint.calls) == 6
        assert len({body["id"] for body in bodies(endpoint)}) == 1


def test_the_pauses_of_a_try_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (len(PAUSES_S), sum(PAUSES_S)) == (5, 756.0)
    pauses_s = (0.05, 0.1, 0.0, 0.15)
    with Endpoint(BUSY) as endpoint:
        began_at = time.monotonic()
        with sender(order(endpoint.url), pauses_s=pauses_s) as (_, settled):
            settled.get(timeout=5)
        assert time.monotonic() - began_at >= sum(pauses_s)
        assert len(endpoint.calls) == 5


@pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden", "404 Not Found", "302 Found"])
def test_a_refusal_is_not_argued_with(status: str, caplog: pytest.LogCaptureFixture) -> None:
    with Endpoint(answer(status, "no\nway", "Location: http://127.0.0.1:1/")) as endpoint:
        asked = order(endpoint.url)
        with sender(asked) as (_, settled):
            problem = f"webhook {endpoint.url.partition('?')[0]} answered {status}: no way"
            assert settled.get(timeout=5) == (asked, problem)
        assert len(endpoint.calls) == 1
    (record,) = caplog.records
    said = f"schedule nightly, 2025-11-25T02:00:00Z: the alert 'failure' was not sent: {problem}"
    assert (record.levelname, record.getMessage()) == ("WARNING", said)
    assert record.action == "alert.failed"  # type: ignore[attr-defined]


def test_what_goes_on_failing_is_given_up() -> None:
    with Endpoint(BUSY) as endpoint, sender(order(endpoint.url)) as (_, settled):
        problem = settled.get(timeout=5)[1]
        assert problem.startswith("given up after 6 tries: webhook http://127.0.0.1:")
        assert problem.endswith("/scale answered 500 Internal Server Error: busy")
        assert len(endpoint.calls) == 6


def test_nobody_listens() -> None:
    url = nobody()
    with sender(order(url)) as (_, settled):
        assert settled.get(timeout=5)[1] == (
            f"given up after 6 tries: webhook {url} can not be reached: connection refused"
        )


def test_a_reason_is_not_as_long_as_a_url() -> None:
    with sender(order(nobody() + "x" * 2000)) as (_, settled):
        assert len(settled.get(timeout=5)[1]) == 500


# ── others ────────────────────────────────────────────────────────────────────────────────────────


def test_others_go_in_between_two_tries() -> None:
    with Endpoint(BUSY) as failing, Endpoint(OK) as well:
        with sender(order(failing.url), order(well.url), pauses_s=NEVER) as (alerter, settled):
            assert settled.get(timeout=5) == (order(well.url), "")
            alerter.put(order(well.url, 7))
            assert settled.get(timeout=5) == (order(well.url, 7), "")
        assert len(failing.calls) == 1


def test_a_url_that_hangs_holds_up_the_others_for_one_try() -> None:
    with Endpoint(until_closed) as dead, Endpoint(OK) as well:
        at_dead = [order(dead.url, slot) for slot in range(100)]
        with sender(*at_dead, order(well.url), pauses_s=NEVER) as (alerter, settled):
            assert settled.get(timeout=5) == (order(well.url), "")
            assert len(dead.calls) == 1
            alerter.put(order(well.url, 7))
            assert settled.get(timeout=5) == (order(well.url, 7), "")
            assert len(dead.calls) == 1


def test_what_comes_while_a_url_hangs_is_not_tried_there_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "CALL_S", 60.0)
    all_there = threading.Event()

    def hang(connection: socket.socket) -> None:
        all_there.wait(5)

    with Endpoint(hang) as dead, Endpoint(OK) as well:
        with sender(order(dead.url), pauses_s=NEVER) as (alerter, settled):
            wait_until(lambda: dead.calls)
            for slot in range(100):
                alerter.put(order(dead.url, slot))
            alerter.put(order(well.url))
            all_there.set()
            assert settled.get(timeout=5) == (order(well.url), "")
            assert len(dead.calls) == 1


def test_all_that_a_dead_url_was_to_get_is_given_up_with_its_tries() -> None:
    url = nobody()
    orders = [order(url, slot) for slot in range(50)]
    with sender(*orders) as (_, settled):
        given_up = [settled.get(timeout=5) for _ in orders]
    assert sorted(each.key for each, _ in given_up) == sorted(each.key for each in orders)
    assert {problem[:22] for _, problem in given_up} == {"given up after 6 tries"}


def test_all_are_heard_once_somebody_is_there() -> None:
    """Another one is tried each time: that only one of them is not liked does not keep the others back."""
    with Endpoint(lambda connection: None, lambda connection: None, OK) as endpoint:
        orders = [order(endpoint.url, slot) for slot in range(20)]
        with sender(*orders) as (_, settled):
            assert {settled.get(timeout=5)[1] for _ in orders} == {""}
        tried = [body["slots"][0] for body in bodies(endpoint)]
        assert (tried[:3], len(tried)) == ([0, 1, 2], 22)


def test_a_server_that_fails_for_one_alert_is_asked_for_each() -> None:
    with Endpoint(BUSY, OK) as endpoint:
        orders = [order(endpoint.url, slot) for slot in (1, 2)]
        with sender(*orders, pauses_s=NEVER) as (_, settled):
            assert settled.get(timeout=5) == (orders[1], "")


def test_too_many_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "WAITING_MOST", 2)
    with Endpoint(BUSY) as endpoint:
        orders = [order(endpoint.url, slot) for slot in range(5)]
        with sender(*orders, pauses_s=NEVER) as (_, settled):
            refused = [settled.get(timeout=5) for _ in range(3)]
            assert refused == [(each, "too many alerts are waiting") for each in orders[2:]]
            wait_until(lambda: len(endpoint.calls) == 2)
    assert settled.empty()


def test_many_put_under_a_lock_that_the_settling_takes() -> None:
    engine, heard = threading.Lock(), []

    def on_settled(order: AlertOrder, problem: str) -> None:
        with engine:
            heard.append(order.key)

    with Endpoint(OK) as endpoint:
        alerter = AlertSender(SECRET, CLUSTER, on_settled)

        def put(first: int) -> None:
            for slot in range(first, first + 50):
                with engine:
                    alerter.put(order(endpoint.url, slot))

        threads = [threading.Thread(target=put, args=(first,)) for first in range(0, 200, 50)]
        alerter.start()
        for thread in threads:
            thread.start()
        wait_until(lambda: len(heard) == 200)
        for thread in threads:
            thread.join()
        alerter.stop()
        assert alerter.join(5)
    assert sorted(slot for _, _, slot in heard) == list(range(200))


def test_nobody_hears_of_what_is_not_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """That it can not be written for a while is not counted among the tries."""
    monkeypatch.setattr(alerts, "SETTLE_S", 0.001)
    seen: list[int] = []

    def settle(changed: bool) -> None:
        assert changed
        seen.append(len(endpoint.calls))
        if len(seen) <= 10:
            raise Unavailable("the disk is full")

    with Endpoint(BUSY, OK) as endpoint, sender(order(endpoint.url), settle=settle) as (_, settled):
        assert settled.get(timeout=5)[1] == ""
    assert seen == 11 * [0] + [1]


# ── the end ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pauses_s", [NEVER, ()], ids=["first", "last"])
def test_it_ends_at_once_while_a_server_hangs(pauses_s: tuple[float, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the last try, nothing is given up: the next master begins anew."""
    monkeypatch.setattr(webhooks, "CALL_S", 60.0)
    with Endpoint(until_closed) as endpoint:
        with sender(order(endpoint.url), order(nobody()), pauses_s=pauses_s) as (alerter, settled):
            wait_until(lambda: endpoint.calls)
            alerter.stop()
            assert alerter.join(5)
        assert settled.empty()
        assert len(endpoint.calls) == 1


def test_it_ends_at_once_while_all_wait_for_later() -> None:
    with Endpoint(BUSY) as endpoint, sender(order(endpoint.url), pauses_s=NEVER) as (_, settled):
        wait_until(lambda: endpoint.calls)
    assert settled.empty()


def test_it_may_be_stopped_before_it_starts() -> None:
    with Endpoint(OK) as endpoint:
        settled: Settled = queue.Queue()
        alerter = AlertSender(SECRET, CLUSTER, lambda order, problem: settled.put((order, problem)))
        alerter.put(order(endpoint.url))
        alerter.stop()
        alerter.start()
        alerter.stop()
        assert alerter.join(5)
    assert settled.empty() and endpoint.calls == []


def test_the_next_master_says_the_same_id() -> None:
    with Endpoint(OK) as endpoint:
        asked = order(endpoint.url)
        others = [
            dataclasses.replace(asked, event="missed"),
            *[
                dataclasses.replace(asked, key=key)
                for key in [("hourly", "schedule", SLOT), ("nightly", "trigger", SLOT)]
            ],
            order(endpoint.url, SLOT + 1),
        ]
        for _ in range(2):
            with sender(asked, *others) as (_, settled):
                assert {settled.get(timeout=5)[1] for _ in range(5)} == {""}
        ids = [body["id"] for body in bodies(endpoint)]
    assert ids[:5] == ids[5:] and len({*ids}) == 5
    text = f"{CLUSTER.hex()}|nightly|schedule|{SLOT}|failure"
    assert ids[0] == hashlib.sha256(text.encode()).hexdigest()[:32]
