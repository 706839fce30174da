"""The settings of a master in a history."""

from __future__ import annotations

from titan_core.scheduler.settings import ScalingSettings, Settings
from titan_test_suite.pytests.support.simulation.agenda import Agenda
from titan_test_suite.pytests.support.simulation.requests import PORTS

DEATH_S = 30.0


def settings_of(agenda: Agenda, runs_kept: int) -> Settings:
    """Such that crash loops, and what ends them, and a cluster that grows and shrinks, fit into a history."""
    scaling = ScalingSettings(
        agenda.dice.choice(["inception", "inception", "external", "none"]),
        max_workers=agenda.dice.randint(3, 9),
        up_s=1.0,
        down_s=agenda.dice.choice([5.0, 20.0]),
        ports=PORTS,
        provision_s=40.0,
    )
    return Settings(
        death_s=DEATH_S,
        runs_kept=runs_kept,
        restart_max_s=10.0,
        crash_loop_restarts=4,
        crash_loop_retry_s=20.0,
        scaling=scaling,
    )
