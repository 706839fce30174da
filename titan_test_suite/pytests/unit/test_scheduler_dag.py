"""The graph: which submissions are refused, by what name, and who waits for whom."""

from __future__ import annotations

import pytest

from titan_core.errors import Conflict, InvalidGraph, NotFound
from titan_core.scheduler import dag
from titan_core.scheduler.model import JobSpec
from titan_test_suite.pytests.support.cluster_model import Cluster, job


def refused(*specs: JobSpec) -> InvalidGraph:
    cluster = Cluster()
    with pytest.raises(InvalidGraph) as caught:
        cluster.submit(*specs)
    assert not cluster.core.state.runs, "a refused submission leaves nothing behind"
    return caught.value


def test_a_duplicate_is_named() -> None:
    error = refused(job("a"), job("b"), job("a"))
    assert error.message == "job id 'a' is used twice in this submission"
    assert error.details == {"job": "a"}


def test_an_unknown_parent_is_named_with_its_child() -> None:
    error = refused(job("a"), job("b", "a", "x"))
    assert error.message == "job 'b' depends on 'x', which is neither in this submission nor in its run"
    assert error.details == {"job": "b"}


@pytest.mark.parametrize("parent", ["nowhere/a", "/a", "a/", "run/a", "/"])
def test_a_parent_in_a_run_that_is_not_there_is_unknown(parent: str) -> None:
    assert repr(parent) in refused(job("a"), job("b", parent)).message


def test_a_job_that_waits_for_itself() -> None:
    error = refused(job("a", "a"))
    assert error.message == "cycle: a → a"
    assert error.details == {"job": "a"}


def test_a_cycle_is_named_as_a_path_each_job_depending_on_the_next() -> None:
    error = refused(job("root"), job("a", "root", "c"), job("b", "a"), job("c", "b"), job("leaf", "c"))
    assert error.message == "cycle: a → c → b → a"


def test_a_long_cycle_is_named_shortened() -> None:
    count = 100_000
    error = refused(*(job(f"j{number}", f"j{(number + 1) % count}") for number in range(count)))
    assert error.message.startswith("cycle: j0 → j1 → ")
    assert "… 99982 more …" in error.message
    assert error.message.endswith(" → j99999 → j0")
    assert len(error.message) < 300


def test_a_diamond_is_no_cycle() -> None:
    parents = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    assert dag.find_cycle(parents) == []
    assert dag.find_cycle({**parents, "a": ["d"]}) == ["a", "d", "b", "a"]


def test_a_chain_of_100_000_jobs_is_accepted_cancelled_and_retried_without_recursion() -> None:
    cluster = Cluster()
    cluster.checked = False
    count = 100_000
    cluster.submit(*(job(f"j{n}", *([f"j{n + 1}"] if n + 1 < count else [])) for n in range(count)))
    assert cluster.state(f"j{count - 1}") == "QUEUED"
    cluster.cancel(f"j{count - 1}")
    assert cluster.run_state() == "CANCELLED"
    cluster.retry(f"j{count - 1}")
    assert cluster.run_state() == "RUNNING"
    assert cluster.run().live_jobs == count


def test_a_child_waits_for_all_its_parents() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("c", "a", "b"), job("a"), job("b"))
    cluster.finish("a")
    assert cluster.state("c") == "BLOCKED"
    assert cluster.job("c").reason == "waits for 1 of 2 parents"
    cluster.finish("b")
    assert cluster.state("c") == "RUNNING"


def test_a_parent_named_twice_counts_once() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"))
    cluster.add(job("b", "a", "a", "run/a"))
    assert cluster.job("b").open_parents == 1
    cluster.finish("a")
    assert cluster.state("b") == "RUNNING"


def test_a_fan_in_starts_once_all_are_done() -> None:
    cluster = Cluster()
    cluster.join("w")
    names = [f"p{number}" for number in range(20)]
    cluster.submit(*map(job, names), job("sum", *names))
    for name in names:
        assert cluster.state("sum") == "BLOCKED"
        cluster.finish(name)
    assert cluster.state("sum") == "RUNNING"


# ── parents that exist already ────────────────────────────────────────────────────────────────────


def test_a_parent_may_be_of_another_run() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"), run_id="first")
    cluster.submit(job("b", "first/a"), run_id="second")
    assert cluster.state("second/b") == "BLOCKED"
    cluster.finish("first/a")
    assert cluster.state("second/b") == "RUNNING"


def test_a_parent_of_another_run_needs_its_run_id() -> None:
    cluster = Cluster()
    cluster.submit(job("a"), run_id="first")
    with pytest.raises(InvalidGraph):
        cluster.submit(job("b", "a"), run_id="second")


def test_a_completed_parent_counts_as_satisfied() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"), job("open"))
    cluster.finish("a")
    cluster.add(job("b", "a"))
    assert cluster.state("b") == "RUNNING"


@pytest.mark.parametrize("end", ["DEAD", "CANCELLED"])
def test_a_parent_that_is_a_lost_cause_cancels_the_child_at_once(end: str) -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a", delay_s=0 if end == "DEAD" else 9), job("open"))
    cluster.fail("a") if end == "DEAD" else cluster.cancel("a")
    cluster.add(job("b", "a"), job("c", "b"), job("d", "open"))
    assert cluster.states() == {"a": end, "open": "RUNNING", "b": "CANCELLED", "c": "CANCELLED", "d": "BLOCKED"}
    assert cluster.job("b").reason == f"parent a is {end}"
    assert cluster.job("c").reason == "parent b is CANCELLED"


def test_a_run_whose_parents_are_all_lost_is_over_at_once() -> None:
    cluster = Cluster()
    cluster.submit(job("a"), run_id="first")
    cluster.cancel("first/a")
    cluster.submit(job("b", "first/a"), run_id="second")
    assert cluster.run_state("second") == "CANCELLED"


def test_a_failing_parent_cancels_children_in_other_runs() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"), run_id="first")
    cluster.submit(job("b", "first/a"), job("c", "b"), run_id="second")
    cluster.fail("first/a")
    assert cluster.states("second") == {"b": "CANCELLED", "c": "CANCELLED"}


# ── a run that grows ──────────────────────────────────────────────────────────────────────────────


def test_a_run_grows_while_it_runs() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"))
    cluster.add(job("b", "a"), job("c"))
    assert cluster.states() == {"a": "RUNNING", "b": "BLOCKED", "c": "RUNNING"}
    for name in "acb":
        cluster.finish(name)
    assert cluster.run_state() == "COMPLETED"


def test_what_is_added_may_not_take_a_name_that_is_there() -> None:
    cluster = Cluster()
    cluster.submit(job("a"))
    with pytest.raises(InvalidGraph, match="job id 'a' exists already in this run"):
        cluster.add(job("b"), job("a"))
    assert cluster.states() == {"a": "QUEUED"}


def test_a_cycle_among_what_is_added_is_refused() -> None:
    cluster = Cluster()
    cluster.submit(job("a"))
    with pytest.raises(InvalidGraph, match="cycle: b → c → b"):
        cluster.add(job("b", "a", "c"), job("c", "b"))
    assert cluster.states() == {"a": "QUEUED"}


def test_a_run_that_is_over_does_not_grow() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"))
    cluster.finish("a")
    with pytest.raises(Conflict, match="run run is COMPLETED already; submit a new run"):
        cluster.add(job("b"))


def test_a_run_whose_services_are_up_still_grows() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("web", service=True))
    cluster.ready("web")
    cluster.add(job("b", "web"))
    assert cluster.run_state() == "RUNNING"
    cluster.finish("b")
    assert cluster.run_state() == "COMPLETED"


def test_a_job_that_is_being_cancelled_adds_nothing_to_its_run() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("agent"), job("other"))
    cluster.cancel("agent")
    with pytest.raises(Conflict, match="job run/agent is being cancelled; it can add no jobs"):
        cluster.add(job("b"), spawner="agent")
    assert "b" not in cluster.states()


def test_a_run_that_is_not_there_does_not_grow() -> None:
    with pytest.raises(NotFound, match="there is no run run"):
        Cluster().add(job("b"))


# ── the same request twice ────────────────────────────────────────────────────────────────────────


def test_a_submission_sent_twice_is_taken_once() -> None:
    cluster = Cluster()
    cluster.submit(job("a"), request_id=b"1")
    assert cluster.submit(job("a"), run_id="other", request_id=b"1") == []
    assert list(cluster.core.state.runs) == ["run"]
    assert cluster.core.state.requests[b"1"] == "run"


def test_jobs_added_twice_are_added_once_even_when_the_run_is_over_by_then() -> None:
    cluster = Cluster()
    cluster.join("w")
    cluster.submit(job("a"))
    cluster.add(job("b"), request_id=b"2")
    assert cluster.add(job("b"), request_id=b"2") == []
    cluster.finish("a")
    cluster.finish("b")
    assert cluster.add(job("b"), request_id=b"2") == []


def test_submissions_without_a_request_id_are_all_different() -> None:
    cluster = Cluster()
    cluster.submit(job("a"), run_id="one")
    cluster.submit(job("a"), run_id="two")
    assert list(cluster.core.state.runs) == ["one", "two"]


def test_a_refused_submission_may_be_sent_again_with_its_request_id() -> None:
    cluster = Cluster()
    with pytest.raises(InvalidGraph):
        cluster.submit(job("a", "x"), request_id=b"1")
    cluster.submit(job("a"), request_id=b"1")
    assert cluster.state("a") == "QUEUED"


def test_a_run_id_is_used_once() -> None:
    cluster = Cluster()
    cluster.submit(job("a"))
    with pytest.raises(Conflict, match="run run exists already"):
        cluster.submit(job("b"))
    assert cluster.states() == {"a": "QUEUED"}
