"""Services through a client: which is meant, waiting for them, and updates with their files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from titan_core.errors import AssetMissing, ConnectionLost, InvalidRequest, NotFound
from titan_core.protocol.messages import (
    Ack,
    ListServices,
    ServiceList,
    ServiceStatus,
    StartWorker,
    UpdateService,
    UploadAsset,
    UploadReply,
)
from titan_sdk import ServiceFailed, TitanClient, TitanJob, WaitTimedOut
from titan_sdk.contents import INLINE_FILE
from titan_test_suite.pytests.support.scripted_master import HangUp, ScriptedMaster

WEB = ServiceStatus("r-2", "web", "READY", revision=3, port=9100)


def serving(master: ScriptedMaster, *statuses: ServiceStatus) -> None:
    master.answer(ListServices, *(ServiceList((status,)) for status in statuses))


def test_one_service_is_meant(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(ListServices, ServiceList())
    with pytest.raises(NotFound, match="there is no service 'r-2'"):
        client.service("r-2")
    master.answer(ListServices, ServiceList((WEB, replace(WEB, job_id="queue"))))
    for call in (client.service, client.service_addresses, client.wait_service):
        with pytest.raises(InvalidRequest, match="'r-2' has 2 services, say which: web, queue"):
            call("r-2")
    with pytest.raises(InvalidRequest, match="named by a string or its handle"):
        client.service(None)  # type: ignore[arg-type]


@pytest.mark.parametrize("instances", [0, -1, 1001, 10**30, 1.5, "3", True, None])
def test_a_number_of_instances_that_can_not_be(
    master: ScriptedMaster, client: TitanClient, instances: object
) -> None:
    with pytest.raises(InvalidRequest, match="instances"):
        client.scale_service("web", instances)  # type: ignore[arg-type]
    assert master.requests == []


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def test_a_service_is_watched_until_it_is_ready(master: ScriptedMaster, client: TitanClient) -> None:
    waiting, starting = replace(WEB, state="WAITING"), replace(WEB, state="STARTING")
    serving(master, waiting, waiting, starting, WEB)
    assert list(client.watch_service("web")) == [waiting, starting, WEB]
    assert [asked.key for asked in master.asked(ListServices)] == ["web", "r-2/web", "r-2/web", "r-2/web"]


@pytest.mark.parametrize("state", ["CRASHLOOP", "DEAD", "STOPPED"])
def test_waiting_in_vain(master: ScriptedMaster, client: TitanClient, state: str) -> None:
    serving(master, replace(WEB, state="STARTING"), replace(WEB, state=state, reason="exit code 3"))
    with pytest.raises(ServiceFailed, match=f"r-2/web is {state}: exit code 3") as caught:
        client.wait_service("web")
    assert caught.value.status.state == state


def test_waiting_too_long(master: ScriptedMaster, client: TitanClient) -> None:
    serving(master, replace(WEB, state="WAITING", reason="no worker has GPU"))
    with pytest.raises(WaitTimedOut, match=r"after 0\.3 s, r-2/web is still WAITING: no worker has GPU"):
        client.wait_service("web", timeout=0.3)


@pytest.mark.parametrize(
    "story", [(replace(WEB, state="UPDATING", revision=4), WEB), (WEB,), (replace(WEB, state="UPDATING"), WEB)]
)
def test_a_revision_that_was_taken_back(
    master: ScriptedMaster, client: TitanClient, story: tuple[ServiceStatus, ...]
) -> None:
    serving(master, *story)
    with pytest.raises(ServiceFailed, match="r-2/web is READY"):
        client.wait_service("web", since=3)


def test_a_later_revision_is_ready(master: ScriptedMaster, client: TitanClient) -> None:
    later = replace(WEB, revision=5)
    serving(master, replace(WEB, state="UPDATING", revision=4), later)
    assert client.wait_service("web", since=3) == later


def test_a_master_that_goes_away_is_waited_for(master: ScriptedMaster, client: TitanClient) -> None:
    starting = ServiceList((replace(WEB, state="STARTING"),))
    master.answer(ListServices, starting, HangUp(), HangUp(), ServiceList((WEB,)))
    assert client.wait_service("web", timeout=20) == WEB


# ── updating ──────────────────────────────────────────────────────────────────────────────────────


def a_file(path: Path, data: bytes = b"serve()") -> Path:
    path.write_bytes(data)
    return path


def test_an_update_brings_its_file_once(master: ScriptedMaster, client: TitanClient, tmp_path: Path) -> None:
    master.answer(UpdateService, Ack("on its way", ("r-2/web",)))
    job = TitanJob("web", a_file(tmp_path / "web.py"), type="service", port="auto")
    for _ in range(2):
        assert client.update_service("web", job).keys == ("r-2/web",)
    first, second = master.asked(UpdateService)
    assert (first.key, first.job.task.asset, first.job.task.port) == ("web", "web.py", -1)
    assert [content.data for content in first.contents] == [b"serve()"]
    assert second.contents == ()


def test_content_that_is_missing_is_sent_once_more(
    master: ScriptedMaster, client: TitanClient, tmp_path: Path
) -> None:
    job = TitanJob("web", a_file(tmp_path / "web.py"), type="service")
    missing = AssetMissing("gone", missing=hashlib.sha256(b"serve()").hexdigest())
    master.answer(UpdateService, Ack("first"), missing, Ack("second"))
    client.update_service("web", job)
    assert client.update_service("web", job).text == "second"
    assert [len(asked.contents) for asked in master.asked(UpdateService)] == [1, 0, 1]
    master.answer(UpdateService, missing)
    with pytest.raises(AssetMissing):
        client.update_service("web", TitanJob("web", a_file(tmp_path / "new.py", b"new"), type="service"))


def test_a_large_file_is_uploaded_before(master: ScriptedMaster, client: TitanClient, tmp_path: Path) -> None:
    master.answer(UploadAsset, UploadReply(True))
    master.answer(UpdateService, Ack("on its way"))
    client.update_service(
        "web", TitanJob("web", a_file(tmp_path / "web.jar", b"x" * (INLINE_FILE + 1)), type="service")
    )
    upload, update = master.requests
    assert isinstance(upload, UploadAsset) and isinstance(update, UpdateService)
    assert upload.sha256 == update.job.task.sha256 and update.contents == ()


def test_a_file_that_is_nowhere(master: ScriptedMaster, client: TitanClient) -> None:
    master.answer(UpdateService, NotFound("there is no file 'web.py' in perm_files/", field="file"))
    with pytest.raises(NotFound, match=r"perm_files/ \(nor is there one in "):
        client.update_service("web", TitanJob("web", "web.py", type="service"))


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.update_service("web", TitanJob("web", "web.py", type="service")),
        lambda c: c.start_worker(8086),
    ],
)
def test_what_may_not_happen_twice_is_sent_once(
    master: ScriptedMaster, client: TitanClient, call: Callable[[TitanClient], object]
) -> None:
    master.answer(UpdateService, HangUp())
    master.answer(StartWorker, HangUp())
    with pytest.raises(ConnectionLost):
        call(client)
    assert len(master.requests) == 1


def test_a_project_of_a_pipeline_becomes_the_update(
    master: ScriptedMaster, client: TitanClient, tmp_path: Path
) -> None:
    a_file(tmp_path / "web.py")
    text = "name: site\nproject: true\njobs:\n  - {id: web, file: web.py, type: service}\n"
    a_file(tmp_path / "titan.yaml", text.encode())
    serving(master, WEB)
    master.answer(UpdateService, Ack("on its way"))
    client.update_service("web", tmp_path)
    (asked,) = master.asked(UpdateService)
    assert (asked.key, asked.job.task.asset, asked.job.task.entry) == ("r-2/web", "site.zip", "web.py")
    assert len(asked.contents) == 1
