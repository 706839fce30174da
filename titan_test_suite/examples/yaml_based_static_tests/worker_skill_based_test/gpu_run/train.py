"""Learns the price of a flat from its size and age by gradient descent, and writes model.json.

Stands for the step that is worth a GPU. What Titan promises is that it runs only on a worker that
offers GPU; it says here which devices it finds there.
"""

import csv
import json
import os
import shutil
import subprocess
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))
EPOCHS = 60
RATE = 0.5


def devices() -> str:
    if shutil.which("nvidia-smi") is None:
        return "no nvidia-smi here, so on the processor"
    return subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout.strip()


def examples() -> list[tuple[float, float, float]]:
    with open(SHARED / "train.csv", newline="") as file:
        return [(float(size) / 150, float(age) / 80, float(price) / 700) for size, age, price in csv.reader(file)]


def fit(rows: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    a = b = c = 0.0
    for epoch in range(EPOCHS + 1):
        misses = [(a * size + b * age + c - price, size, age) for size, age, price in rows]
        if epoch % 20 == 0:
            print(f"epoch {epoch:>3}  loss {sum(miss * miss for miss, _, _ in misses) / len(rows):.5f}")
        a -= RATE * sum(miss * size for miss, size, _ in misses) / len(rows)
        b -= RATE * sum(miss * age for miss, _, age in misses) / len(rows)
        c -= RATE * sum(miss for miss, _, _ in misses) / len(rows)
    return a, b, c


def main() -> None:
    print(f"on {os.environ.get('TITAN_WORKER', 'this machine')}: {devices()}")
    a, b, c = fit(examples())
    (SHARED / "model.json").write_text(json.dumps({"size": a * 700 / 150, "age": b * 700 / 80, "base": c * 700}))


if __name__ == "__main__":
    main()
