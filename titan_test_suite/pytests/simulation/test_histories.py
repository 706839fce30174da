"""Made-up histories of a whole cluster: masters and workers that crash, a network that loses and delays, people.

Each has a seed, and nothing else decides what happens. What must be true of all is in `support/simulation/oracle.py`.
`TITAN_SIMULATION_SEED=…` repeats one history, and prints its story; with `TITAN_TORTURE=1` there
are as many as `TITAN_SIMULATION_MINUTES` (10) allow.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed
from titan_test_suite.pytests.support.simulation.cluster import simulate
from titan_test_suite.pytests.support.simulation.figures import Figures
from titan_test_suite.pytests.support.simulation.tables import Tables

HISTORIES = 50
CHECK_EACH = 1 if TORTURE else 30
REPLAY = "TITAN_SIMULATION_SEED={} make test ARGS='titan_test_suite/pytests/simulation -k {}'"


def seeds(share: float) -> Iterator[int]:
    """Those that are to be tried now: the announced one, and those that follow it."""
    if "TITAN_SIMULATION_SEED" in os.environ:
        return iter([int(os.environ["TITAN_SIMULATION_SEED"])])
    first = announced_seed()
    if TORTURE:
        until_at = time.monotonic() + share * 60 * float(os.environ.get("TITAN_SIMULATION_MINUTES", "10"))
        return itertools.takewhile(lambda seed: time.monotonic() < until_at, itertools.count(first))
    return iter(range(first, first + round(share * HISTORIES)))


def lived(share: float, live: Callable[[int, int], Figures]) -> None:
    """Live through this share of the histories there is time for: `live(seed, check_each)` is one of them."""
    figures = [one(seed, live) for seed in seeds(share)]
    sums = Figures(*map(sum, zip(*figures, strict=True)))
    print(f"{len(figures)} histories: {sums}")
    if len(figures) >= 20:  # a history in which nothing happens proves nothing
        assert sums.starts >= 20 * len(figures)
        assert sums.master_crashes >= 2 * len(figures)
        assert sums.worker_failures >= 4 * len(figures)
        assert sums.recoveries_compared >= len(figures)
        assert sums.services >= 10 * len(figures)
        assert sums.renewals >= len(figures)
        assert sums.crash_loops >= len(figures)
        assert sums.born >= len(figures) / 4
        assert sums.let_go >= len(figures) / 20
        assert sums.schedules >= 2 * len(figures)
        assert sums.fires >= 10 * len(figures)
        assert sums.missed >= 3 * len(figures)
        assert sums.caught_up >= len(figures)
        assert sums.backfilled >= 2 * len(figures)
        assert sums.clock_settings >= len(figures)
        assert sums.taken_back >= len(figures) / 50


def one(seed: int, live: Callable[[int, int], Figures]) -> Figures:
    test = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].partition(" ")[0]
    try:
        return live(seed, 1 if "TITAN_SIMULATION_SEED" in os.environ else CHECK_EACH)
    except AssertionError as broken:
        raise AssertionError(f"{broken}\n\nrepeat it with: {REPLAY.format(seed, test)}") from broken


def test_histories() -> None:
    lived(0.7, simulate)


def test_histories_of_a_forgetful_master() -> None:
    """Of what is over, only the last runs are in memory; the rest is history, and is taken back when it is named."""
    lived(0.2, lambda seed, check_each: simulate(seed, check_each, runs_kept=4))


def test_histories_in_the_tables_of_the_real_store() -> None:
    """What is written says the same when it is read, and `titan check` is content, at each start and at the end."""

    def live(seed: int, check_each: int) -> Figures:
        with closing(Tables()) as tables:
            figures = simulate(seed, check_each, rows=tables)
            tables.check()
        return figures

    lived(0.1, live)


def test_a_seed_is_a_history() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed)
    assert simulate(seed, 0) == simulate(seed, 0)
