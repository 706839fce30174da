"""Made-up graphs: what Hypothesis, and the simulation, submit."""

from __future__ import annotations

import random

from hypothesis import strategies as st

from titan_core.protocol.messages import Task
from titan_core.scheduler.model import JobSpec
from titan_core.scheduler.states import Affinity

JOBS_MOST = 4
"""Jobs in one submission."""


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
    )


def rolled_graph(dice: random.Random, first: int, existing: list[str]) -> tuple[JobSpec, ...]:
    """The same, decided by a dice: for simulations, which replay from a seed."""
    names = [f"j{number}" for number in range(first, first + dice.randint(1, JOBS_MOST))]
    specs = [_rolled_spec(dice, name, names[:index] + existing) for index, name in enumerate(names)]
    dice.shuffle(specs)
    return tuple(specs)


def _rolled_spec(dice: random.Random, name: str, parents: list[str]) -> JobSpec:
    return JobSpec(
        name,
        Task("x.sh"),
        parents=tuple(dict.fromkeys(dice.choices(parents, k=dice.randrange(4)))) if parents else (),
        requirement=dice.choice(["GENERAL", "GENERAL", "GENERAL", "GPU"]),
        priority=dice.randrange(3),
        delay_s=dice.choice([0.0, 0.0, 0.0, 5.0, 30.0]),
        affinity=dice.choice([Affinity.NONE, Affinity.NONE, Affinity.PREFER, Affinity.STRICT]),
        retries=dice.randrange(3),
        retry_backoff_s=dice.choice([0.0, 1.0]),
        max_attempts=dice.choice([0, 0, 0, 1, 2]),
        service=dice.random() < 0.2,
    )
