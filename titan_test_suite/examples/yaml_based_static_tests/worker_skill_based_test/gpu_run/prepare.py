"""Measurements to learn from, train.csv, and others to judge by, test.csv: size, age, price of a flat.

Made up: the price follows size and age, with some noise.
"""

import argparse
import csv
import os
import random
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def flat(chance: random.Random) -> tuple[str, str, str]:
    size, age = chance.uniform(20, 150), chance.uniform(0, 80)
    price = 4.2 * size - 1.5 * age + 60 + chance.gauss(0, 20)
    return f"{size:.1f}", f"{age:.1f}", f"{price:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    for name, rows in ("train.csv", options.rows), ("test.csv", options.rows // 4):
        with open(SHARED / name, "w", newline="") as file:
            csv.writer(file).writerows(flat(chance) for _ in range(rows))
        print(f"{name}: {rows} flats")


if __name__ == "__main__":
    main()
