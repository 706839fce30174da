"""Made-up graphs: what Hypothesis, and the simulation, submit."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import strategies as st

from titan_core.protocol.messages import Task
from titan_core.scheduler.model import USUAL_POLICY, JobSpec, ServicePolicy
from titan_core.scheduler.states import Affinity, Restart

JOBS_MOST = 4
"""Jobs in one submission."""
INSTANCES_MOST = 3
PORTS = [0, 0, 0, 7001, 7002]
GOOD, FRAIL, BAD = "good", "frail", "bad"
"""What the processes of a service are like, as the first argument of its task: they get ready; they do, and end soon
after, as long as there are faults; they never get ready, and end."""
POLICIES = st.builds(
    ServicePolicy,
    restart=st.sampled_from(Restart),
    min_uptime_s=st.sampled_from([1.0, 10.0]),
    instances=st.sampled_from([1, 1, 2, INSTANCES_MOST]),
    run_scoped=st.sampled_from([False, False, True]),
    port=st.sampled_from(PORTS),
)


@st.composite
def graphs(draw: st.DrawFn, first: int, existing: list[str]) -> tuple[JobSpec, ...]:
    """Jobs `j<first>`, `j<first + 1>`, …, whose parents are among those before them and the existing ones."""
    count = draw(st.integers(1, JOBS_MOST))
    names = [f"j{number}" for number in range(first, first + count)]
    specs = [draw(specs_of(name, names[:index] + existing)) for index, name in enumerate(names)]
    return tuple(draw(st.permutations(specs)))


def specs_of(name: str, parents: list[str]) -> st.SearchStrategy[JobSpec]:
    return st.builds(
        JobSpec,
        job_id=st.just(name),
        task=st.none(),
        parents=st.lists(st.sampled_from(parents), max_size=3).map(tuple) if parents else st.just(()),
        requirement=st.sampled_from(["GENERAL", "GENERAL", "GENERAL", "GPU"]),
        priority=st.integers(0, 2),
        delay_s=st.sampled_from([0.0, 0.0, 0.0, 5.0, 30.0]),
        affinity=st.sampled_from(Affinity),
        retries=st.integers(0, 2),
        retry_backoff_s=st.sampled_from([0.0, 1.0]),
        max_attempts=st.sampled_from([0, 0, 0, 1, 2]),
        service=st.sampled_from([False, False, True]),
        policy=POLICIES,
    ).map(_as_submitted)


def _as_submitted(spec: JobSpec) -> JobSpec:
    """Only services have a policy that is not the usual one."""
    return spec if spec.service else replace(spec, policy=USUAL_POLICY)


def rolled_graph(dice: random.Random, first: int, existing: list[str]) -> tuple[JobSpec, ...]:
    """The same, decided by a dice: for simulations, which replay from a seed."""
    names = [f"j{number}" for number in range(first, first + dice.randint(1, JOBS_MOST))]
    specs = [_rolled_spec(dice, name, names[:index] + existing) for index, name in enumerate(names)]
    dice.shuffle(specs)
    return tuple(specs)


def _rolled_spec(dice: random.Random, name: str, parents: list[str]) -> JobSpec:
    service = dice.random() < 0.2
    policy = _rolled_policy(dice) if service else USUAL_POLICY
    return JobSpec(
        name,
        _rolled_task(dice, name, policy.port) if service else Task("x.sh"),
        parents=tuple(dict.fromkeys(dice.choices(parents, k=dice.randrange(4)))) if parents else (),
        requirement=dice.choice(["GENERAL", "GENERAL", "GENERAL", "GPU"]),
        priority=dice.randrange(3),
        delay_s=dice.choice([0.0, 0.0, 0.0, 5.0, 30.0]),
        affinity=dice.choice([Affinity.NONE, Affinity.NONE, Affinity.PREFER, Affinity.STRICT]),
        retries=dice.randrange(3),
        retry_backoff_s=dice.choice([0.0, 1.0]),
        max_attempts=dice.choice([0, 0, 0, 1, 2]) if not service or dice.random() < 0.2 else 0,
        service=service,
        policy=policy,
    )


def _rolled_policy(dice: random.Random) -> ServicePolicy:
    return ServicePolicy(
        dice.choice([Restart.ALWAYS, Restart.ALWAYS, Restart.ON_FAILURE, Restart.NEVER]),
        dice.choice([1.0, 4.0]),
        dice.choice([1, 1, 2, INSTANCES_MOST]),
        dice.random() < 0.3,
        dice.choice(PORTS),
    )


def _rolled_task(dice: random.Random, version: str, port: int) -> Task:
    """What a service is to run, in the version of this name."""
    return Task("x.sh", args=(dice.choice([GOOD, GOOD, GOOD, GOOD, FRAIL, BAD]), version), port=port)


def rolled_update(dice: random.Random, spec: JobSpec, version: str) -> JobSpec:
    """Another definition for a service."""
    policy = replace(spec.policy, min_uptime_s=dice.choice([1.0, 4.0]), port=dice.choice([spec.policy.port, 0]))
    return replace(spec, task=_rolled_task(dice, version, policy.port), priority=dice.randrange(3), policy=policy)
