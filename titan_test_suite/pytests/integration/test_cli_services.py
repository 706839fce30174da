"""The commands for services against a scripted master: what they ask, print and leave, also while they wait."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from titan_core.errors import Conflict, NotFound
from titan_core.protocol import messages as m
from titan_test_suite.pytests.support.scripted_master import ScriptedMaster
from titan_test_suite.pytests.support.titan_calls import RUN, address, script
from titan_test_suite.pytests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[3]
WEB = f"{RUN}/web"
PIPELINE = """\
name: site
project: false
jobs:
  - {id: queue, file: queue.py, type: service}
  - id: web
    file: web.py
    type: service
    port: 9100
    health: {http: /up}
"""


def instance(job_id: str = "web", **fields) -> m.InstanceStatus:
    return m.InstanceStatus(job_id, **{"state": "RUNNING", "worker": "host:8080", **fields})


def web(state: str = "READY", *instances: m.InstanceStatus, **fields) -> m.ServiceStatus:
    found = instances or (instance(ready=state == "READY", address="host:9100"),)
    ready = sum(item.ready for item in found)
    return m.ServiceStatus(RUN, "web", state, wanted=len(found), ready=ready, instances=found, **fields)


def serving(master: ScriptedMaster, *statuses: m.ServiceStatus) -> None:
    """The service is like this, then like that; like the last one for ever."""
    master.answer(m.ListServices, *(m.ServiceList((status,)) for status in statuses))


def accepted(master: ScriptedMaster, request: type, text: str = "as you wish") -> None:
    script(master, request, m.Ack(text, (WEB,)))


# ── looking ───────────────────────────────────────────────────────────────────────────────────────


def test_services_lists_them_and_the_instances_of_one(titan, master):
    queue = m.ServiceStatus(RUN, "queue", "CRASHLOOP", "exit code 1", wanted=2)
    found = web(
        "DEGRADED", instance(ready=True, address="host:9100"), instance("web.2", state="FAILED", reason="boom")
    )
    script(master, m.ListServices, lambda asked: m.ServiceList((found,) if asked.key == "web" else (found, queue)))
    assert titan("services") == 0
    heading, first, second = titan.out.splitlines()
    assert heading.split() == ["SERVICE", "STATE", "READY", "ADDRESS", "WORKER", "REASON"]
    assert first.split() == [WEB, "DEGRADED", "1/2", "host:9100", "host:8080"]
    assert second.split() == [f"{RUN}/queue", "CRASHLOOP", "0/2", "exit", "code", "1"]
    assert titan("services", RUN, "-q") == 0
    assert titan.out.split() == [WEB, f"{RUN}/queue"]
    assert titan("services", "web") == 0
    assert [line.split()[0] for line in titan.out.splitlines()] == ["INSTANCE", "web", "web.2"]
    assert titan.err == f"{WEB} is DEGRADED, 1 of 2 ready: host:9100\n"
    assert titan("services", "web", "-q") == 0
    assert titan.out.split() == [WEB, f"{WEB}.2"]
    assert titan("services", "web", "--json") == 0
    assert [item["reason"] for item in json.loads(titan.out)[0]["instances"]] == ["", "boom"]


def test_services_of_nothing(titan, master):
    script(master, m.ListServices, m.ServiceList())
    assert titan("services") == 0
    assert (titan.out, titan.err) == ("", "no services\n")
    script(master, m.ListServices, NotFound("there is no job 'x'"))
    assert titan("services", "x") == 4


# ── changing ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "request_"),
    [
        ("start web", m.StartService("web")),
        ("stop web", m.StopService("web")),
        ("restart web", m.RestartService("web")),
        ("scale web 3", m.ScaleService("web", 3)),
    ],
)
def test_a_command_is_a_request(titan, master, words, request_):
    accepted(master, type(request_))
    assert titan(*words.split()) == 0
    assert titan.out == "as you wish\n"
    assert titan(*words.split(), "-q") == 0
    assert titan.out == f"{WEB}\n"
    assert titan(*words.split(), "--json") == 0
    assert json.loads(titan.out) == {"message": "as you wish", "keys": [WEB]}
    assert master.requests == [request_] * 3
    script(master, type(request_), Conflict("it is so already"))
    assert titan(*words.split()) == 3


def test_update_by_a_file(titan, master, tmp_path):
    (tmp_path / "new.py").write_text("serve()")
    serving(master, web())
    accepted(master, m.UpdateService)
    words = "update web new.py auto --health-http /up --restart never --max-memory 1G --requirement WEB -- --fast"
    assert titan(*words.split()) == 0
    (asked,) = master.asked(m.UpdateService)
    task = asked.job.task
    assert (asked.key, asked.job.job_id, asked.job.service, asked.job.restart) == (WEB, "web", True, "never")
    assert (task.port, task.health, task.max_memory, task.args) == (-1, m.Health("/up"), 1 << 30, ("--fast",))
    assert (asked.job.requirement, asked.contents[0].data) == ("WEB", b"serve()")


@pytest.mark.parametrize("port", [-1, 0, 9100])
def test_update_by_a_file_keeps_the_port(titan, master, tmp_path, port):
    (tmp_path / "new.py").write_text("serve()")
    serving(master, replace(web(), port=port))
    accepted(master, m.UpdateService)
    assert titan("update", "web", "new.py") == 0
    assert titan("update", "web", "new.py", "9200") == 0
    assert [asked.job.task.port for asked in master.asked(m.UpdateService)] == [port, 9200]


@pytest.mark.parametrize("path", ["titan.yaml", "."])
def test_update_by_the_job_of_a_pipeline(titan, master, tmp_path, path):
    (tmp_path / "titan.yaml").write_text(PIPELINE)
    (tmp_path / "web.py").write_text("serve()")
    serving(master, web())
    accepted(master, m.UpdateService)
    assert titan("update", "last/web", path) == 0
    (asked,) = master.asked(m.UpdateService)
    assert (asked.key, asked.job.job_id, asked.job.task.health.http) == (WEB, "web", "/up")
    serving(master, replace(web(), job_id="other"))
    assert titan("update", "other", path) == 4
    assert "titan.yaml has no job 'other', which is the service to update" in titan.err


def test_update_refuses_what_can_not_be(titan, master, tmp_path):
    (tmp_path / "web.py").write_text("serve()")
    serving(master, replace(web(), port=0))
    assert titan("update", "web", "web.py", "--health-http", "/up") == 3
    assert "health: http needs a port" in titan.err
    master.answer(m.ListServices, m.ServiceList((web(), web())))
    assert titan("update", RUN, "web.py") == 3
    assert "has 2 services, say which: web, web" in titan.err
    assert master.asked(m.UpdateService) == []


def test_deploy_takes_every_field_of_a_service(titan, master, tmp_path):
    (tmp_path / "web.py").write_text("serve()")
    script(master, m.SubmitRun, m.Submitted(RUN, 1))
    words = (
        "deploy web.py auto --instances 3 --restart on-failure --health-command 'test -e x' --unhealthy-after 5 "
        "--ready-timeout 2m --min-uptime 1 --max-memory 512K"
    )
    assert titan(*shlex.split(words)) == 0
    (spec,) = master.asked(m.SubmitRun)[-1].jobs
    health = m.Health(command=("test", "-e", "x"), unhealthy_after=5, ready_timeout_s=120.0)
    assert (spec.instances, spec.restart, spec.min_uptime_s) == (3, "on-failure", 1.0)
    assert (spec.task.port, spec.task.health, spec.task.max_memory) == (-1, health, 512 << 10)


def test_deploy_of_a_worker(titan, master, tmp_path):
    script(master, m.StartWorker, lambda asked: m.Ack("it starts", (f"host:{asked.port}",)))
    assert titan("deploy", "worker") == titan("deploy", "Worker.jar", "8090", "GPU", "-q") == 0
    assert titan.out == "host:8090\n"
    assert titan("deploy", "worker", "--requirement", "WEB") == 0
    assert master.requests == [m.StartWorker(8085), m.StartWorker(8090, "GPU"), m.StartWorker(8085, "WEB")]
    assert titan("deploy", "worker", "auto") == titan("deploy", "worker", "--wait") == 2
    assert "titan deploy worker 8085" in titan.err


def test_a_file_that_is_called_as_the_worker_is_deployed(titan, master, tmp_path):
    (tmp_path / "Worker.jar").write_text("not really")
    script(master, m.SubmitRun, m.Submitted(RUN, 1))
    assert titan("deploy", "Worker.jar", "8090") == 0
    assert master.asked(m.SubmitRun)[0].jobs[0].task.asset == "Worker.jar"


# ── waiting ───────────────────────────────────────────────────────────────────────────────────────


def test_waiting_tells_each_change_of_an_instance(titan, master):
    accepted(master, m.StartService, "web starts")
    waits = web("WAITING", instance(state="QUEUED", worker="", reason="no worker has WEB"))
    serving(master, waits, waits, web("STARTING"), web())
    assert titan("start", "web", "--wait") == 0
    assert titan.out == f"{WEB} is READY, 1 of 1 ready: host:9100\n"
    first, *told = titan.err.splitlines()
    assert first == "web starts"
    assert [line.split("  ")[1:] for line in told] == [
        ["web", "QUEUED", "no worker has WEB"],
        ["web", "RUNNING", "on host:8080"],
        ["web", "RUNNING", "ready at host:9100", "on host:8080"],
    ]
    serving(master, web())
    assert titan("start", "web", "--wait", "--json") == 0
    assert json.loads(titan.out)["state"] == "READY"
    assert titan("start", "web", "--wait", "-q") == 0
    assert (titan.out, titan.err) == (f"{WEB}\n", "")


@pytest.mark.parametrize("state", ["CRASHLOOP", "DEAD", "STOPPED"])
def test_waiting_ends_when_it_is_in_vain(titan, master, state):
    accepted(master, m.ScaleService)
    serving(master, web("STARTING"), web(state, reason="exit code 3"))
    assert titan("scale", "web", "2", "--wait") == 1
    assert titan.err.splitlines()[-1] == f"titan: {WEB} is {state}: exit code 3"
    assert titan.out == ""


def test_waiting_gives_up_after_its_timeout(titan, master):
    accepted(master, m.StartService)
    serving(master, web("STARTING"))
    assert titan("start", "web", "--wait", "--timeout", "50ms") == 6
    assert f"after 0.05 s, {WEB} is still STARTING" in titan.err


def test_an_update_that_was_taken_back_has_failed(titan, master, tmp_path):
    (tmp_path / "new.py").write_text("serve()")
    accepted(master, m.UpdateService)
    taken_back = web(revision=1, reason="revision 2 was taken back: exit code 1")
    before = (web(revision=1), web(revision=1))  # what is looked at before the update
    for story in ((web("UPDATING", revision=2), taken_back), (taken_back,)):
        serving(master, *before, *story)
        assert titan("update", "web", "new.py", "--wait") == 1
        assert "is READY: revision 2 was taken back: exit code 1" in titan.err
    serving(master, *before, web("UPDATING", revision=2, reason="0 of 1 renewed"), web(revision=2))
    assert titan("update", "web", "new.py", "--wait", "--wait-timeout", "5") == 0
    assert "  web is UPDATING: 0 of 1 renewed\n" in titan.err


def test_a_restart_of_a_run_waits_for_each_of_its_services(titan, master):
    keys = (WEB, f"{RUN}/queue")
    script(master, m.RestartService, m.Ack("2 services are restarting", keys))
    old = {"web": web(revision=3, port=9100), "queue": replace(web(revision=1, port=9101), job_id="queue")}
    asked = []

    def listing(request: m.ListServices) -> m.ServiceList:
        if request.key == RUN:
            return m.ServiceList(tuple(old.values()))
        asked.append(request.key)
        service = old[request.key.partition("/")[2]]
        return m.ServiceList((replace(service, revision=service.revision + 1),))

    script(master, m.ListServices, listing)
    assert titan("restart", RUN, "--wait", "-q") == 0
    assert titan.out.split() == asked == list(keys)


def test_deploy_waits_for_a_service_and_for_a_pipeline(titan, master, tmp_path):
    (tmp_path / "web.py").write_text("serve()")
    (tmp_path / "titan.yaml").write_text(PIPELINE)
    script(master, m.SubmitRun, m.Submitted(RUN, 1))
    serving(master, web("WAITING"), web())
    assert titan("deploy", "web.py", "9100", "--wait") == 0
    assert titan.out == f"{WEB} is READY, 1 of 1 ready: host:9100\n"
    assert f"accepted as {WEB}" in titan.err
    script(master, m.GetRun, m.RunStatus(RUN, "site", "COMPLETED", 1, final=True))
    assert titan("deploy", ".", "--wait", "--wait-timeout", "5") == 0
    assert titan.out == f"{RUN}\n{RUN} COMPLETED\n"


def test_ctrl_c_leaves_the_service_as_it_is(titan, master):
    accepted(master, m.RestartService)
    serving(master, web("UPDATING"))
    command = [sys.executable, str(ROOT / "titan_sdk" / "titan_cli.py"), "--master", address(master)]
    with subprocess.Popen([*command, "restart", "web", "--wait"], stderr=subprocess.PIPE, text=True) as process:
        wait_until(lambda: len(master.asked(m.ListServices)) > 2, 10)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert process.stderr is not None
        said = process.stderr.read()
    assert f"{WEB} stays as it is; look at it with: titan services {WEB}" in said
    assert "Traceback" not in said


def test_logs_follow_a_service_from_attempt_to_attempt(titan, master):
    script(master, m.GetJob, m.JobStatus(RUN, "web", "RUNNING", service=True, started_wall=1.0))
    pieces = {
        (0, 0): m.LogChunk(RUN, "web", 1, 0, b"one\n", end=True),
        (2, 0): m.LogChunk(RUN, "web", 2, 0, b"two\n", end=True),
        (3, 0): m.LogChunk(RUN, "web", 3, 0, b"three\n", end=True, final=True),
    }
    script(master, m.GetLogs, lambda asked: pieces[asked.attempt, asked.offset])
    assert titan("logs", "-f", "web") == 0
    assert titan.out == "one\ntwo\nthree\n"
    assert titan.err == "attempt 2:\nattempt 3:\n"
