"""Fails when two ways of adding up the orders do not give the same: `reconcile.py region month`."""

import json
import os
import sys
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def total(column: str) -> int:
    return sum(json.loads((SHARED / f"totals-{column}.json").read_text()).values())


def main() -> None:
    totals = {column: total(column) for column in sys.argv[1:]}
    if len(set(totals.values())) != 1:
        sys.exit(f"the totals differ: {totals}")
    cents = next(iter(totals.values()))
    print(f"{' and '.join(totals)} agree: {cents / 100:,.2f}")


if __name__ == "__main__":
    main()
