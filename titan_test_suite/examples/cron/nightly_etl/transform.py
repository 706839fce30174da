"""Adds the orders up by town: orders.csv becomes totals.csv."""

import csv
import os
from collections import Counter
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def main() -> None:
    totals: Counter[tuple[str, str]] = Counter()
    with open(SHARED / "orders.csv", newline="") as file:
        for day, _, town, amount in csv.reader(file):
            totals[day, town] += int(amount)
    with open(SHARED / "totals.csv", "w", newline="") as file:
        csv.writer(file).writerows([*key, amount] for key, amount in sorted(totals.items()))
    print(f"{len(totals)} totals")


if __name__ == "__main__":
    main()
