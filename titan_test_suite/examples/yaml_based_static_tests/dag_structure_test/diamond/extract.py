"""Writes the year's orders into orders.csv: order, region, month, cents. Made up; the same for the same --seed."""

import argparse
import csv
import os
import random
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))
REGIONS = ("north", "east", "south", "west")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=100)
    parser.add_argument("--seed", type=int, default=11)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with open(SHARED / "orders.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("order", "region", "month", "cents"))
        for number in range(options.orders):
            month = f"{chance.randrange(1, 13):02}"
            writer.writerow((number, chance.choice(REGIONS), month, chance.randrange(100, 50_000)))
    print(f"orders.csv: {options.orders} orders")


if __name__ == "__main__":
    main()
