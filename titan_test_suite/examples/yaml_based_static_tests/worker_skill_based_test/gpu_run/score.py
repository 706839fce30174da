"""Judges model.json by flats it has not seen; fails when it explains less of the prices than --at-least."""

import argparse
import csv
import json
import os
import sys
from pathlib import Path
from statistics import fmean

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at-least", type=float, default=0.9)
    options = parser.parse_args()
    model = json.loads((SHARED / "model.json").read_text())
    with open(SHARED / "test.csv", newline="") as file:
        flats = [tuple(map(float, row)) for row in csv.reader(file)]
    usual = fmean(price for _, _, price in flats)
    left = sum((price - model["size"] * size - model["age"] * age - model["base"]) ** 2 for size, age, price in flats)
    score = 1 - left / sum((price - usual) ** 2 for _, _, price in flats)
    print(f"R² = {score:.3f} on {len(flats)} flats; {options.at_least} is asked for")
    sys.exit(0 if score >= options.at_least else 1)


if __name__ == "__main__":
    main()
