"""The seed of a random test: printed before anything is made up with it, and taken from outside to repeat a run."""

from __future__ import annotations

import os
import random

TORTURE = bool(os.environ.get("TITAN_TORTURE"))
"""Whether the random tests, and those that take their time, have minutes instead of seconds."""


def announced_seed() -> int:
    """`TITAN_SEED`, or a new one; says on stdout how to get the same again."""
    seed = int(os.environ.get("TITAN_SEED") or random.SystemRandom().randrange(2**32))
    print(f"seed {seed}; run it again with TITAN_SEED={seed}")
    return seed
