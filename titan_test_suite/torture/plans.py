"""What the clients of a storm submit, and what must become of it. Pure: all chance comes from the generator given."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from titan_sdk import TitanJob
from titan_test_suite.torture.scripts import Scripts

RETRIES = 2
INSTANCES = 2
"""Of a service with several, in the end."""
GROWN = 3
"""Jobs that a growing job adds to its run."""
_BACKOFF_S = 0.2
_STOP_GRACE_S = 0.3
_BURST = 48


@dataclass(frozen=True)
class Plan:
    """One run to be. Every job of it completes, but those named here."""

    kind: str
    jobs: tuple[TitanJob, ...]
    doomed: frozenset[str] = frozenset()
    """Fail by themselves however often they are tried: DEAD. What depends on them is CANCELLED."""
    grower: str = ""
    """Adds GROWN jobs before it ends."""
    end_after_s: float | None = None
    """The run is cancelled then, or the service stopped; none of its jobs ends by itself before."""
    lasts: bool = False
    """Its job is a service that is to be ready when the storm is over, and is stopped then."""
    flaps: bool = False
    """Its processes end by themselves."""
    replaced: bool = False
    """It is cancelled when the next one of its schedule is due before it has ended."""

    @property
    def serves(self) -> bool:
        """Whether its first job is a service, that somebody stops."""
        return self.jobs[0].service and self.jobs[0].scope == "cluster"


def make(chance: random.Random, scripts: Scripts) -> Plan:
    """A plan of any kind."""
    (kind,) = chance.choices(list(_KINDS), [weight for weight, _ in _KINDS.values()])
    return _KINDS[kind][1](chance, scripts)


def lasting(scripts: Scripts) -> list[Plan]:
    """Services that go on until the storm is over: one that is left alone, one of several instances, one that ends
    by itself."""
    flapping = TitanJob("flap", scripts.flap, type="service", env=scripts.env, stop_grace=_STOP_GRACE_S)
    return [
        Plan("lasting", (_hold(scripts, "serve", type="service"),), lasts=True),
        Plan("twin", (_hold(scripts, "twin", type="service", instances=INSTANCES),), lasts=True),
        Plan("flapping", (flapping,), lasts=True, flaps=True),
    ]


def _single(chance: random.Random, scripts: Scripts) -> Plan:
    return Plan("single", (_step(chance, scripts, "only", priority=chance.randint(1, 3)),))


def _diamond(chance: random.Random, scripts: Scripts) -> Plan:
    middle = [_step(chance, scripts, f"middle-{n}", parents=("first",)) for n in range(chance.randint(2, 5))]
    last = _step(chance, scripts, "last", parents=tuple(job.job_id for job in middle))
    return Plan("diamond", (_step(chance, scripts, "first"), *middle, last))


def _fan(chance: random.Random, scripts: Scripts) -> Plan:
    return Plan("fan", tuple(_step(chance, scripts, f"part-{n}") for n in range(chance.randint(8, 24))))


def _burst(chance: random.Random, scripts: Scripts) -> Plan:
    """More than the slots there are can do in a moment."""
    jobs = (TitanJob(f"burst-{n}", scripts.step, args=("0.7", "0"), env=scripts.env) for n in range(_BURST))
    return Plan("burst", tuple(jobs))


def _chain(chance: random.Random, scripts: Scripts) -> Plan:
    """Each on the worker of the one before it, if it can be."""
    first = _step(chance, scripts, "link-0")
    rest = [
        _step(chance, scripts, f"link-{n}", parents=(f"link-{n - 1}",), affinity=True)
        for n in range(1, chance.randint(3, 7))
    ]
    return Plan("chain", (first, *rest))


def _flaky(chance: random.Random, scripts: Scripts) -> Plan:
    failures = chance.randint(1, RETRIES)
    job = _step(chance, scripts, "flaky", failures, retries=RETRIES, retry_backoff=_BACKOFF_S)
    return Plan("flaky", (job, _step(chance, scripts, "after", parents=("flaky",))))


def _doomed(chance: random.Random, scripts: Scripts) -> Plan:
    job = _step(chance, scripts, "doomed", 1_000_000, retries=chance.randint(0, 1), retry_backoff=_BACKOFF_S)
    children = [_step(chance, scripts, f"never-{n}", parents=("doomed",)) for n in range(3)]
    return Plan("doomed", (job, *children), doomed=frozenset({"doomed"}))


def _once(chance: random.Random, scripts: Scripts) -> Plan:
    return Plan("once", tuple(_step(chance, scripts, f"once-{n}", max_attempts=1) for n in range(4)))


def _delayed(chance: random.Random, scripts: Scripts) -> Plan:
    return Plan("delayed", (_step(chance, scripts, "later", delay=f"{chance.randint(100, 1500)}ms"),))


def _growing(chance: random.Random, scripts: Scripts) -> Plan:
    grower = TitanJob("grower", scripts.grow, args=(str(GROWN), scripts.step), env=scripts.env)
    return Plan("growing", (grower,), grower="grower")


def _cancelled(chance: random.Random, scripts: Scripts) -> Plan:
    jobs = (_hold(scripts, "held"), _step(chance, scripts, "never", parents=("held",)))
    return Plan("cancelled", jobs, end_after_s=chance.uniform(0.0, 2.0))


def _service(chance: random.Random, scripts: Scripts) -> Plan:
    return Plan("service", (_hold(scripts, "serve", type="service"),), end_after_s=chance.uniform(0.5, 8.0))


def _scoped(chance: random.Random, scripts: Scripts) -> Plan:
    """A service that is there as long as the other jobs of its run."""
    first = _step(chance, scripts, "first")
    last = _step(chance, scripts, "last", parents=("first",))
    return Plan("scoped", (first, last, _hold(scripts, "beside", type="service", scope="run")))


def _step(chance: random.Random, scripts: Scripts, job_id: str, failures: int = 0, **fields: object) -> TitanJob:
    arguments = (_work_s(chance), str(failures))
    return TitanJob(job_id, scripts.step, args=arguments, env=scripts.env, **fields)


def _hold(scripts: Scripts, job_id: str, **fields: object) -> TitanJob:
    return TitanJob(job_id, scripts.hold, env=scripts.env, stop_grace=_STOP_GRACE_S, **fields)


def _work_s(chance: random.Random) -> str:
    """Most jobs take no time; some are long enough to be hit by something."""
    drawn = chance.random()
    if drawn < 0.8:
        return "0"
    return f"{chance.uniform(0.05, 0.5) if drawn < 0.97 else chance.uniform(1.0, 4.0):.2f}"


_KINDS: dict[str, tuple[int, Callable[[random.Random, Scripts], Plan]]] = {
    "single": (30, _single),
    "diamond": (16, _diamond),
    "fan": (12, _fan),
    "burst": (1, _burst),
    "chain": (10, _chain),
    "flaky": (10, _flaky),
    "doomed": (6, _doomed),
    "once": (6, _once),
    "delayed": (5, _delayed),
    "cancelled": (4, _cancelled),
    "growing": (1, _growing),
    "service": (1, _service),
    "scoped": (2, _scoped),
}
"""How often each kind is chosen, in parts of their sum."""
