"""Takes the price lists of the suppliers and writes the best price of each article into prices.csv.

The lists are made up here, where a real job would fetch them, and stay in suppliers/ for the clean-up.
"""

import csv
import os
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))
LISTS = {
    "orchard": {"apple": 42, "pear": 55, "plum": 31},
    "market": {"apple": 39, "plum": 35, "quince": 80},
    "import": {"pear": 49, "quince": 95, "mango": 120},
}
"""Cents by article, by supplier."""


def fetch(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for supplier, prices in LISTS.items():
        with open(folder / f"{supplier}.csv", "w", newline="") as file:
            csv.writer(file).writerows(prices.items())


def best_prices(folder: Path) -> dict[str, int]:
    best: dict[str, int] = {}
    for path in sorted(folder.glob("*.csv")):
        with open(path, newline="") as file:
            for article, cents in csv.reader(file):
                best[article] = min(int(cents), best.get(article, int(cents)))
    return best


def main() -> None:
    fetch(SHARED / "suppliers")
    best = best_prices(SHARED / "suppliers")
    with open(SHARED / "prices.csv", "w", newline="") as file:
        csv.writer(file).writerows(sorted(best.items()))
    print(f"prices.csv: {len(best)} articles of {len(LISTS)} suppliers")


if __name__ == "__main__":
    main()
