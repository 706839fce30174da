"""Adds up the orders by a column: `totals.py region` writes totals-region.json."""

import csv
import json
import os
import sys
from collections import Counter
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def main() -> None:
    column = sys.argv[1]
    totals: Counter[str] = Counter()
    with open(SHARED / "orders.csv", newline="") as file:
        for order in csv.DictReader(file):
            totals[order[column]] += int(order["cents"])
    (SHARED / f"totals-{column}.json").write_text(json.dumps(totals, indent=2, sort_keys=True) + "\n")
    for name, cents in sorted(totals.items()):
        print(f"{name:<8}{cents / 100:>14,.2f}")


if __name__ == "__main__":
    main()
