"""Counts the primes of one shard of the numbers below 40,000: `count.py 2` writes count-2.txt."""

import os
import sys
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))
SHARD = 10_000


def is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


def main() -> None:
    shard = int(sys.argv[1])
    primes = sum(map(is_prime, range(shard * SHARD, (shard + 1) * SHARD)))
    (SHARED / f"count-{shard}.txt").write_text(f"{primes}\n")
    print(f"shard {shard}: {primes} primes")


if __name__ == "__main__":
    main()
