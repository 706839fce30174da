"""What a history had in it: one in which nothing happens proves nothing."""

from __future__ import annotations

from typing import NamedTuple

from titan_test_suite.pytests.support.simulation.oracle import Oracle


class Figures(NamedTuple):
    starts: int
    master_crashes: int
    worker_failures: int
    submissions: int
    recoveries_compared: int
    services: int
    renewals: int
    crash_loops: int
    born: int
    """Workers that came because the master wanted more."""
    let_go: int
    """Workers that the scaler has stopped."""
    schedules: int
    fires: int
    """Those that ran."""
    missed: int
    caught_up: int
    """Fires that were made up for since there had been no master, or the clock had been set."""
    backfilled: int
    clock_settings: int
    """Those that a master was told of while it was there."""
    taken_back: int
    """Lines of what was MISSED only because the clock had been ahead."""


def figures_of(oracle: Oracle, recoveries_compared: int, born: int) -> Figures:
    wants, counted = oracle.wants, oracle.timekeeper.counted
    return Figures(
        oracle.starts,
        oracle.master_crashes,
        oracle.worker_failures,
        len(oracle.promised),
        recoveries_compared,
        wants.services,
        wants.renewals,
        wants.crash_loops,
        born,
        oracle.let_go,
        counted["defined"],
        counted["RAN"],
        counted["MISSED"],
        counted["caught up"],
        counted["backfilled"],
        counted["clock set"],
        counted["taken back"],
    )
