"""Text bodies: every form that clients of the Java system send, and what is said of broken ones."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from titan_core.errors import InvalidRequest
from titan_core.protocol.messages import (
    AssetContent,
    CancelJob,
    ClusterStatus,
    FetchAsset,
    GetJob,
    GetLogs,
    JobSpec,
    ShutdownWorker,
    StartWorker,
    StateCount,
    StopService,
    Task,
    UploadAsset,
    WorkerHistory,
    WorkerStatus,
)
from titan_core.protocol.monitor import stats_json, stats_text
from titan_core.protocol.text import (
    parse_cancel,
    parse_dag,
    parse_deploy,
    parse_fetch,
    parse_get_job,
    parse_get_logs,
    parse_job,
    parse_kill_worker,
    parse_run,
    parse_stop,
    parse_upload,
)

SCRIPT = b"print('a script that is somewhat longer than fifty characters')\n"
SHORT = b"print(1)"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


B64, SHA = b64(SCRIPT), sha(SCRIPT)


def only_job(body: str) -> JobSpec:
    (job,), _ = parse_dag(body)
    return job


def refusal(body: str, parse=parse_dag) -> str:
    with pytest.raises(InvalidRequest) as caught:
        parse(body)
    return str(caught.value)


class TestDefinitions:
    """One job definition: what is right of the payload, and left of it."""

    def test_hand_typed(self):
        job = only_job("step1|GENERAL|extract.py|5|0|[]")
        assert job == JobSpec("step1", Task("extract.py"), requirement="GENERAL", priority=5)

    def test_without_skill(self):
        assert only_job("step1|extract.py|5|0|[]") == JobSpec("step1", Task("extract.py"), priority=5)

    def test_with_everything(self):
        job = only_job(" DAG-b | GPU | train.py | 10 | 1500 | [DAG-a, c ,other-run/DAG-d] | AFFINITY ")
        assert job == JobSpec(
            "b",
            Task("train.py"),
            parents=("a", "c", "other-run/d"),
            requirement="GPU",
            priority=10,
            delay_s=1.5,
            affinity="prefer",
        )

    def test_sticky_is_affinity(self):
        assert only_job("b|GENERAL|x.py|1|0|[a]|STICKY").affinity == "prefer"

    def test_negative_priority(self):
        assert only_job("b|GENERAL|x.py|-3|0|[]").priority == -3

    def test_several(self):
        jobs, contents = parse_dag(f"a|RUN_PAYLOAD|a.py||{B64}|GENERAL|1|0|[] ; b|GENERAL|b.py|1|0|[a];")
        assert [(job.job_id, job.parents) for job in jobs] == [("a", ()), ("b", ("a",))]
        assert contents == (AssetContent(SHA, SCRIPT),)

    def test_equal_contents_travel_once(self):
        jobs, contents = parse_dag(";".join(f"{n}|RUN_PAYLOAD|{n}.py||{B64}|GENERAL|1|0|[]" for n in "abc"))
        assert len(jobs) == 3
        assert contents == (AssetContent(SHA, SCRIPT),)

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ("", "there is no job"),
            (" ; ; ", "there is no job"),
            ("a", "too few fields"),
            ("a|GENERAL|x.py|1|0", "where the parents are"),
            ("a|x.py|1|0", "too few fields"),
            ("a|GENERAL|x.py|1|soon|[]", "the delay (ms) 'soon' is not a whole number"),
            ("a|GENERAL|x.py|1|-5|[]", "delay is -0.005"),
            ("a|GENERAL|x.py|1|1.5|[]", "the delay (ms) '1.5'"),
            ("a|GENERAL|x.py|high|0|[]", "the priority 'high' is not a whole number"),
            ("a|GENERAL|x.py|²|0|[]", "the priority '²' is not a whole number"),
            ("a|GENERAL|x.py|9999999|0|[]", "priority is 9999999"),
            ("a|GENERAL|x.py|" + "9" * 5000 + "|0|[]", "is not a whole number"),
            ("a|GENERAL|x.py|1|0|[b", "'[b' is where the parents are"),
            ("a|GENERAL|x.py|1|0|[b,,c]", "parent '' can not be used"),
            ("a|GENERAL|x.py|1|0|[../b]", "parent '..' can not be used"),
            ("|GENERAL|x.py|1|0|[]", "job id ''"),
            ("a b|GENERAL|x.py|1|0|[]", "job id 'a b'"),
            ("a/b|GENERAL|x.py|1|0|[]", "job id 'a/b'"),
            ("a|GENERAL||1|0|[]", "file '' is not a file name"),
            ("a|GENERAL|../x.py|1|0|[]", "file '../x.py' is not a file name"),
            ("a|NO SKILL|x.py|1|0|[]", "requirement 'NO SKILL' is not a capability"),
            ("a|GENERAL|PDF_CONVERT|report.pdf|1|0|[]", "'PDF_CONVERT' is not a payload"),
            ("a|GENERAL|x.py|1|0|[]|ELSEWHERE", "'ELSEWHERE' is where the parents are"),
        ],
    )
    def test_broken(self, body, reason):
        assert reason in refusal(body)

    def test_the_broken_one_is_named(self):
        with pytest.raises(InvalidRequest) as caught:
            parse_dag(f"a|GENERAL|a.py|1|0|[] ; b|GENERAL|{'b' * 100}|x|0|[a]")
        assert str(caught.value).startswith("definition 2, 'b|GENERAL|bbb")
        assert len(str(caught.value)) < 200
        assert caught.value.details["definition"] == "2"

    def test_its_job_is_named(self):
        with pytest.raises(InvalidRequest) as caught:
            parse_dag("DAG-b|GENERAL|b.py|1|-1|[]")
        assert caught.value.details == {"definition": "1", "job": "b", "field": "delay"}


class TestPayloads:
    """Each form, as the SDK writes it (requirement at the end) and as people do (SKILL in front)."""

    @pytest.mark.parametrize(
        ("payload", "args", "requirement"),
        [
            (f"RUN_PAYLOAD|x.py|--fast in.csv|{B64}|GPU", ("--fast", "in.csv"), "GPU"),
            (f"RUN_PAYLOAD|x.py||{B64}|GPU", (), "GPU"),
            (f"RUN_PAYLOAD|x.py|{B64}|GPU", (), "GPU"),
            (f"RUN_PAYLOAD|x.py|{B64}", (), "GENERAL"),
            (f"RUN_PAYLOAD|x.py|a|b c|d|{B64}|GPU", ("a|b", "c|d"), "GPU"),
            (f"RUN_PAYLOAD|x.py|{'long' * 20}|{B64}|GPU", ("long" * 20,), "GPU"),
            (f"GPU|RUN_PAYLOAD|x.py|{B64}", (), "GPU"),
            (f"GPU|RUN_PAYLOAD|x.py|a b|{B64}", ("a", "b"), "GPU"),
            (f"GPU|RUN_PAYLOAD|x.py|a|b|{B64}", ("a|b",), "GPU"),
            (f"GPU|RUN_PAYLOAD|x.py|{B64}|GENERAL", (), "GPU"),
            (f"GENERAL|RUN_PAYLOAD|x.py||{B64}|GPU", (), "GPU"),
            (f"RUN_PAYLOAD|x.py||{B64}|", (), "GENERAL"),
        ],
    )
    def test_inline_script(self, payload, args, requirement):
        (job,), contents = parse_dag(f"a|{payload}|1|0|[]")
        assert job == JobSpec("a", Task("x.py", SHA, args=args), requirement=requirement)
        assert contents == (AssetContent(SHA, SCRIPT),)

    @pytest.mark.parametrize("script", [b"a", b"ab", b"abc", SHORT, b"print(12)", b"print(123)", b"x" * 36])
    @pytest.mark.parametrize(
        "form",
        [
            "RUN_PAYLOAD|x.py||{}|GPU",
            "RUN_PAYLOAD|x.py|{}|GPU",
            "GPU|RUN_PAYLOAD|x.py|{}",
            "GPU|RUN_PAYLOAD|x.py||{}",
        ],
    )
    def test_short_scripts_look_like_requirements(self, form, script):
        (job,), contents = parse_dag(f"a|{form.format(b64(script))}|1|0|[]")
        assert (job.task.args, job.requirement) == ((), "GPU")
        assert contents == (AssetContent(sha(script), script),)

    @pytest.mark.parametrize(
        "payload", [f"DEPLOY_PAYLOAD|s.py|{B64}|9000|GPU", f"GPU|DEPLOY_PAYLOAD|s.py|{B64}|9000"]
    )
    def test_inline_service(self, payload):
        (job,), contents = parse_dag(f"a|{payload}|1|0|[]")
        assert job == JobSpec("a", Task("s.py", SHA, port=9000), requirement="GPU", service=True)
        assert contents == (AssetContent(SHA, SCRIPT),)

    @pytest.mark.parametrize(
        ("payload", "args"),
        [
            ("RUN_ARCHIVE|project.zip/jobs/x.py|--a b|GPU", ("--a", "b")),
            ("RUN_ARCHIVE|project.zip/jobs/x.py||GPU", ()),
            ("RUN_ARCHIVE|project.zip/jobs/x.py|a|b c|GPU", ("a|b", "c")),
            ("GPU|RUN_ARCHIVE|project.zip/jobs/x.py", ()),
            ("GPU|RUN_ARCHIVE|project.zip/jobs/x.py|--a b", ("--a", "b")),
        ],
    )
    def test_entry_of_an_archive(self, payload, args):
        task = Task("project.zip", entry="jobs/x.py", args=args)
        assert only_job(f"a|{payload}|1|0|[]") == JobSpec("a", task, requirement="GPU")

    @pytest.mark.parametrize(
        ("payload", "args"),
        [
            ("START_ARCHIVE_SERVICE|team/p.zip/s.py|--a b|9000|GPU", ("--a", "b")),
            ("START_ARCHIVE_SERVICE|team/p.zip/s.py||9000|GPU", ()),
            ("START_ARCHIVE_SERVICE|team/p.zip/s.py|a|b|9000|GPU", ("a|b",)),
            ("GPU|START_ARCHIVE_SERVICE|team/p.zip/s.py|9000", ()),
            ("GPU|START_ARCHIVE_SERVICE|team/p.zip/s.py|a|9000", ("a",)),
        ],
    )
    def test_service_of_an_archive(self, payload, args):
        task = Task("team/p.zip", entry="s.py", args=args, port=9000)
        assert only_job(f"a|{payload}|1|0|[]") == JobSpec("a", task, requirement="GPU", service=True)

    def test_files_of_perm_files(self):
        assert only_job("a|RUN|x.py|GPU|1|0|[]") == JobSpec("a", Task("x.py"), requirement="GPU")
        assert only_job("a|GPU|RUN|x.py|1|0|[]") == JobSpec("a", Task("x.py"), requirement="GPU")
        assert only_job("a|DEPLOY|s.py|9000|GPU|1|0|[]") == JobSpec(
            "a", Task("s.py", port=9000), requirement="GPU", service=True
        )

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            ("RUN_PAYLOAD|x.py", "too few fields; it is written RUN_PAYLOAD|file|args|base64|requirement"),
            ("RUN_PAYLOAD|x.py||not base64!|GPU", "the content of 'x.py' is not base64"),
            ("RUN_PAYLOAD|x.py||QUJ|GPU", "is not base64"),
            ("RUN_PAYLOAD|x.py||QUI=x|GPU", "is not base64"),
            ("RUN_PAYLOAD|x.py||Größe|GPU", "is not base64"),
            ("RUN_PAYLOAD|x.py|||GPU", "the content of 'x.py' is empty"),
            (f"RUN_PAYLOAD|/etc/x||{B64}|GPU", "file '/etc/x' is not a file name"),
            (f"FPGA|RUN_PAYLOAD|x.py||{B64}|GPU", "the skill 'FPGA' before, and 'GPU' after"),
            (f"DEPLOY_PAYLOAD|s.py|{B64}", "too few fields; it is written DEPLOY_PAYLOAD|"),
            (f"DEPLOY_PAYLOAD|s.py|{B64}|http|GPU", "the port 'http' is not a whole number"),
            (f"DEPLOY_PAYLOAD|s.py|{B64}|65536|GPU", "port is 65536; it must be from 0 to 65535"),
            (f"DEPLOY_PAYLOAD|s.py|{B64}|9000|GPU|more", "'more' follows the requirement"),
            ("RUN_ARCHIVE|x.py|a|GPU", "'x.py' does not say what to run: write project.zip/path/entry"),
            ("RUN_ARCHIVE|p.zip/../x.py|a|GPU", "entry '../x.py' is not a file name"),
            ("RUN_ARCHIVE|p.zip/|a|GPU", "entry '' is not a file name"),
            ("RUN_ARCHIVE|p.zip/x.py", "too few fields; it is written RUN_ARCHIVE|"),
            ("START_ARCHIVE_SERVICE|p.zip/s.py|9000|GPU", "too few fields"),
            ("START_ARCHIVE_SERVICE|p.zip/s.py||x|GPU", "the port 'x' is not a whole number"),
            ("RUN_PAYLOAD", "too few fields"),
        ],
    )
    def test_broken(self, payload, reason):
        assert reason in refusal(f"a|{payload}|1|0|[]")


class TestSingleJobs:
    @pytest.mark.parametrize(
        ("numbers", "priority", "delay_s"), [("", 1, 0.0), ("|2000", 1, 2.0), ("|7|2000", 7, 2.0), ("|7|0", 7, 0.0)]
    )
    def test_numbers_are_peeled_off_the_right(self, numbers, priority, delay_s):
        (job,), contents = parse_job(f"DAG-a|RUN_PAYLOAD|x.py||{B64}|GPU{numbers}")
        assert job == JobSpec("a", Task("x.py", SHA), requirement="GPU", priority=priority, delay_s=delay_s)
        assert contents == (AssetContent(SHA, SCRIPT),)

    @pytest.mark.parametrize(
        ("body", "job_id"),
        [
            (f"RUN_PAYLOAD|my job.py||{B64}|GPU", "my-job"),
            ("RUN_ARCHIVE|p.zip/jobs/x.y.py||GPU|5|0", "x-y"),
            ("extract.py", "extract"),
            ("extract.py|5|0", "extract"),
            ("źródło.py", "r-d-o"),
            ("🚀.py", "job"),
        ],
    )
    def test_a_job_without_id_is_named_after_its_file(self, body, job_id):
        (job,), _ = parse_job(body)
        assert job.job_id == job_id

    def test_hand_typed_with_id(self):
        (job,), _ = parse_job("a|GPU|x.py|5|0")
        assert job == JobSpec("a", Task("x.py"), requirement="GPU", priority=5)

    @pytest.mark.parametrize("body", ["", "|", "a|b|c|d", "RUN_PAYLOAD", "a|RUN_PAYLOAD|x.py|5"])
    def test_broken(self, body):
        refusal(body, parse_job)

    def test_run(self):
        assert parse_run("jobs/extract.py") == ((JobSpec("extract", Task("jobs/extract.py")),), ())
        assert parse_run("x.py|GPU") == ((JobSpec("x", Task("x.py"), requirement="GPU"),), ())
        assert "'more' follows" in refusal("x.py|GPU|more", parse_run)
        assert "is not a file name" in refusal("", parse_run)

    def test_deploy(self):
        def service(name: str, port: int, requirement: str = "GENERAL"):
            spec = JobSpec(name.partition(".")[0], Task(name, port=port), requirement=requirement, service=True)
            return (spec,), ()

        assert parse_deploy("s.py|9000|GPU") == service("s.py", 9000, "GPU")
        assert parse_deploy("s.py|9000") == service("s.py", 9000)
        assert parse_deploy("s.py||GPU") == service("s.py", 0, "GPU")
        assert parse_deploy("s.py") == service("s.py", 0)
        assert parse_deploy("s.py|\x1c9000\x1f") == service("s.py", 9000)  # what `int` itself does not take for blank
        assert "port is 70000" in refusal("s.py|70000|GPU", parse_deploy)

    def test_deploy_of_a_worker(self):
        assert parse_deploy("Worker.jar") == StartWorker(8085)
        assert parse_deploy(" Worker.jar | ") == parse_deploy("Worker.jar|0|") == StartWorker(8085)
        assert parse_deploy("Worker.jar|8090|GPU") == StartWorker(8090, "GPU")
        assert "port is 70000" in refusal("Worker.jar|70000", parse_deploy)
        assert "port is -1" in refusal("Worker.jar|-1", parse_deploy)
        assert "is not a whole number" in refusal("Worker.jar|GPU", parse_deploy)
        assert "is not a capability" in refusal("Worker.jar|8090|G P U", parse_deploy)
        assert "'more' follows" in refusal("Worker.jar|8090|GPU|more", parse_deploy)

    @pytest.mark.parametrize("body", ["DEPLOY|Worker.jar|8085", "w|DEPLOY|Worker.jar|8085|GENERAL"])
    def test_a_worker_is_no_job(self, body):
        assert "titan deploy worker" in refusal(body, parse_job)
        assert "titan deploy worker" in refusal(f"{body}|1|0|[]" if body[0] == "w" else f"w|{body}|1|0|[]", parse_dag)


class TestOtherRequests:
    @pytest.mark.parametrize(
        ("parse", "message"),
        [(parse_stop, StopService), (parse_get_logs, GetLogs), (parse_get_job, GetJob), (parse_cancel, CancelJob)],
    )
    def test_ids(self, parse, message):
        assert parse("a") == parse(" DAG-a\n") == message("a")
        assert parse("run-1/DAG-a") == message("run-1/a")
        for bad in ("", "a b", "a/b/c", "../a", "a\0", "x" * 10_000, "🚀"):
            refusal(bad, parse)

    def test_kill_worker(self):
        assert parse_kill_worker("localhost|8081") == ShutdownWorker("localhost:8081")
        assert parse_kill_worker("localhost| \x1c8081") == ShutdownWorker("localhost:8081")
        for bad in ("", "8081", "|8081", "host|", "host|x", "host|0", "host|65536"):
            refusal(bad, parse_kill_worker)

    def test_upload(self):
        announced, data = parse_upload(f"lib/x.py|{B64}")
        assert (announced, data) == (UploadAsset("lib/x.py", SHA, len(SCRIPT)), SCRIPT)
        assert parse_upload("empty|").data == b""
        for bad in ("", "x.py", f"../x|{B64}", f"|{B64}", "x|y|z", "x|QUJ"):
            refusal(bad, parse_upload)

    def test_fetch(self):
        assert parse_fetch("lib/x.py") == FetchAsset(name="lib/x.py")
        for bad in ("", "/etc/passwd", "../x"):
            refusal(bad, parse_fetch)


PARSERS = (parse_dag, parse_job, parse_run, parse_deploy, parse_stop, parse_kill_worker, parse_upload, parse_fetch)
PIECES = ["|", ";", "[", "]", ",", " ", "a", "DAG-", "GENERAL", "RUN_PAYLOAD", "RUN_ARCHIVE", "DEPLOY_PAYLOAD", "1"]
PIECES += ["START_ARCHIVE_SERVICE", "p.zip/x", "-5", "QUJD", "AFFINITY", "..", "/", "\0", "²", "🚀", "RUN", "DEPLOY"]


@settings(deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join) | st.text(max_size=60))
def test_whatever_is_sent_is_read_or_refused(body):
    for parse in PARSERS:
        try:
            parse(body)
        except InvalidRequest as error:
            assert str(error)


@settings(deadline=None)
@given(
    st.text("abc |-_.", max_size=20).map(lambda args: args.strip(" |") or "x"),
    st.binary(min_size=1, max_size=100),
    st.sampled_from(["GENERAL", "GPU", "linux+arm"]),
)
def test_what_the_sdk_writes_is_what_is_read(args, content, requirement):
    (job,), contents = parse_dag(f"a|RUN_PAYLOAD|x.py|{args}|{b64(content)}|{requirement}|3|10|[b]")
    assert (job.task.args, job.requirement, job.parents) == (tuple(args.split()), requirement, ("b",))
    assert contents == (AssetContent(sha(content), content),)


CLUSTER = ClusterStatus(
    workers=(
        WorkerStatus(
            "127.0.0.1:8080",
            "ONLINE",
            ("GENERAL",),
            slots=4,
            used=2,
            services=("demo-1/server",),
            jobs=("demo-1/x", "demo-1/y"),
            history=(
                WorkerHistory("demo-1/x", "RUNNING", 1.5),
                *(WorkerHistory(f"demo-1/old{n}", "SUCCEEDED", 0.8124) for n in range(10)),
            ),
        ),
        WorkerStatus("gpu-host:8081", "DISCONNECTED", ("GENERAL", "GPU"), slots=4),
    ),
    counts=tuple(StateCount(state, n) for n, state in enumerate(("QUEUED", "DELAYED", "FAILED", "BLOCKED", "DEAD"))),
)


class TestMonitor:
    def test_text(self):
        assert stats_text(CLUSTER) == (
            "--- TITAN SYSTEM MONITOR ---\n"
            "Active Workers:    1\n"
            "Execution Queue:   0 jobs\n"
            "Delayed (Time):    3 jobs\n"
            "Blocked (DAG):     3 jobs\n"
            "Dead Letter (DLQ): 4 jobs\n"
            "-------------------------------\n"
            "Worker Status:\n"
            " • [8080] Load: 2/4 (50%) | Skills: [GENERAL]\n"
            "    └── Service ID: demo-1/server\n"
            " • [8081] Load: 0/4 (0%) | Skills: [GENERAL, GPU] | Host: gpu-host | DISCONNECTED\n"
        )

    def test_text_of_an_empty_cluster(self):
        assert stats_text(ClusterStatus()).endswith("Worker Status: no worker is connected\n")

    def test_json(self):
        value = json.loads(stats_json(CLUSTER))
        assert (value["active_workers"], value["queue_size"]) == (1, 0)
        worker, idle = value["workers"]
        assert (worker["port"], worker["capabilities"], worker["load"]) == (8080, "[GENERAL]", "2/4")
        assert (worker["active_job"], worker["services"]) == ("DAG-x", ["DAG-server"])
        assert worker["history"][0] == {"id": "DAG-x", "status": "RUNNING", "time": "1500ms"}
        assert worker["history"][1] == {"id": "DAG-old0", "status": "COMPLETED", "time": "812ms"}
        assert len(worker["history"]) == 11
        assert (idle["active_job"], idle["history"], idle["services"]) == (None, [], [])

    def test_json_of_an_empty_cluster(self):
        assert json.loads(stats_json(ClusterStatus())) == {"active_workers": 0, "queue_size": 0, "workers": []}
