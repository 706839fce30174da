"""The settings of the scheduler; the master fills them in from its own."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ScalingSettings:
    """How the cluster may grow and shrink; as in the settings of the master."""

    provisioner: str = "none"
    """`inception`: a worker starts another one beside it; `external`: whoever takes `Provision`; `none`."""
    max_workers: int = 5
    max_per_pool: int = 0
    """0 = no limit of its own."""
    max_per_host: int = 0
    """0 = WORKERS_PER_CPU for each processor."""
    up_s: float = 1.0
    down_s: float = 45.0
    ports: tuple[int, int] = (8090, 8200)
    provision_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Settings:
    death_s: float = 30.0
    """A worker not heard for so long is dead, its attempts are lost."""
    runs_kept: int = 1_000
    """Runs that are over and still in memory; the oldest go first."""
    jobs_kept: int = 100_000
    """Jobs of such runs, together."""
    restart_max_s: float = 60.0
    """The longest pause before a service that ended is started again."""
    crash_loop_restarts: int = 10
    """More of them within CRASH_LOOP_S, or in a row, are a crash loop."""
    crash_loop_retry_s: float = 3600.0
    """How long a service rests in one."""
    scaling: ScalingSettings = ScalingSettings()
