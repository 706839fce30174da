"""Adds up what the shards have counted."""

import os
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def main() -> None:
    counts = [int(path.read_text()) for path in sorted(SHARED.glob("count-*.txt"))]
    print(f"{os.environ.get('TITAN_SCHEDULED_FOR', 'now')}: {sum(counts)} primes in {len(counts)} shards")


if __name__ == "__main__":
    main()
