"""Writes plan.json: the size of the picture, and which rows each strip draws."""

import argparse
import json
import os
from itertools import pairwise
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=90)
    parser.add_argument("--height", type=int, default=60)
    parser.add_argument("--strips", type=int, default=6)
    options = parser.parse_args()
    edges = [number * options.height // options.strips for number in range(options.strips + 1)]
    rows = list(pairwise(edges))
    (SHARED / "plan.json").write_text(json.dumps({"width": options.width, "height": options.height, "rows": rows}))
    print(f"{options.width} × {options.height} pixels in {options.strips} strips")


if __name__ == "__main__":
    main()
