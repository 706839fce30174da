"""A service that is killed with `kill -9`: when does it answer again? And what does it cost to keep ten?

The program is that of `answering`, whoever keeps it. Every service has answered for UP_S when it is killed, which
for each keeper makes this a first crash (see `keepers`): none of them waits on purpose. From then on
there is a new connection every half millisecond, until one is answered by another process.

Keepers take turns: in each, every keeper's service is killed once, and the program is started once by itself.
Each round has new keepers, as Titan counts more than ten restarts within ten minutes as a crash loop.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from titan_test_suite.pytests.benchmarks import keepers
from titan_test_suite.pytests.benchmarks.answering import Answering, bare_s, write_program
from titan_test_suite.pytests.benchmarks.figures import TITAN, Figure, Plan, at_most, percentile
from titan_test_suite.pytests.benchmarks.keepers import FIXED, KEEPERS
from titan_test_suite.pytests.benchmarks.processes import busy_percent

UP_S = 1.5 * keepers.GOOD_S
MANY = 10
SETTLE_S = 3.0
BARE = "the program itself"
WANTED_MS = 75
"""What PM2 once took on such a machine, where supervisord took 1080."""

Samples = dict[str, list[float]]
"""By keeper."""


def measure(plan: Plan) -> list[Figure]:
    absent = _absent(plan)
    names = [name for name in KEEPERS if name not in absent]
    return [*_restarts(plan, names, absent), *_at_rest(plan, names, absent)]


def _absent(plan: Plan) -> list[str]:
    """Those peers that can not be installed, or do not work here."""
    absent = []
    for name, find in keepers.PEERS.items():
        try:
            find()
            with KEEPERS[name](1) as kept:
                Answering(kept.ports[0])
        except (ImportError, AssertionError, OSError, subprocess.SubprocessError) as error:
            plan.say(f"without {name}: {error}")
            absent.append(name)
    return absent


# ── killed, and there again ───────────────────────────────────────────────────────────────────────


def _restarts(plan: Plan, names: list[str], absent: list[str]) -> list[Figure]:
    samples: Samples = {name: [] for name in [*names, BARE]}
    for number in range(plan.rounds):
        plan.say(f"services killed and awaited, round {number + 1} of {plan.rounds}")
        _round(names, plan.size(4, 2), samples)
    ours, fixed = samples.pop(TITAN), samples.pop(FIXED)
    return [
        *_p50_and_p90("service killed → serves again", ours, samples, absent),
        *_p50_and_p90("the same, with a fixed port", fixed, samples, absent),
    ]


def _round(names: list[str], turns: int, samples: Samples) -> None:
    with ExitStack() as stack:
        program = write_program(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="titan-bench-"))))
        services = {name: Answering(stack.enter_context(KEEPERS[name](1)).ports[0]) for name in names}
        for turn in range(turns):
            first = turn % len(names)  # another one begins each turn
            for name in names[first:] + names[:first]:
                samples[name].append(1000 * services[name].kill_s(UP_S))
            samples[BARE].append(1000 * bare_s(program))


def _p50_and_p90(name: str, samples: list[float], beside: Samples, absent: list[str]) -> list[Figure]:
    """The samples are in ms, one per turn."""
    slowest = {peer: [percentile(theirs, 90)] for peer, theirs in beside.items()}
    return [
        Figure(f"{name}, p50", "ms", samples, [at_most(WANTED_MS)], beside, absent),
        Figure(f"{name}, p90", "ms", [percentile(samples, 90)], beside=slowest, absent=absent),
    ]


# ── at rest ───────────────────────────────────────────────────────────────────────────────────────


def _at_rest(plan: Plan, names: list[str], absent: list[str]) -> list[Figure]:
    """What each keeper's process computes while its services do nothing."""
    seconds = plan.size(20, 10)
    with ExitStack() as stack:
        kept = {name: stack.enter_context(KEEPERS[name](MANY)) for name in names if name != FIXED}
        for one in kept.values():
            list(map(Answering, one.ports))
        plan.say(f"{MANY} services each doing nothing for {seconds} s")
        time.sleep(SETTLE_S)
        percents = busy_percent([one.pid for one in kept.values()], seconds)
        busy = {name: [percent] for name, percent in zip(kept, percents, strict=True)}
    name = f"worker with {MANY} services: CPU at rest"
    return [Figure(name, "% of a core", busy.pop(TITAN), beside=busy, absent=absent)]
