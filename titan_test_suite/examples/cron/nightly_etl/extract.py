"""Writes orders.csv: the orders of the day before the instant that it is given."""

import csv
import os
import random
import sys
from datetime import datetime, timedelta
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def main() -> None:
    day = (datetime.fromisoformat(sys.argv[1]) - timedelta(days=1)).date()
    dice = random.Random(day.toordinal())  # the same day has the same orders, however often it is asked for
    with open(SHARED / "orders.csv", "w", newline="") as file:
        writer = csv.writer(file)
        for number in range(200):
            writer.writerow([day, number, dice.choice(["Ulm", "Bonn", "Jena"]), dice.randint(1, 900)])
    print(f"200 orders of {day}")


if __name__ == "__main__":
    main()
