"""Made-up graphs: what Hypothesis submits."""

from __future__ import annotations

from hypothesis import strategies as st

from titan_core.scheduler.model import Affinity, JobSpec

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
