"""Draws one strip of the Mandelbrot set: `strip.py 3` writes strip-3.gray, a byte for each pixel."""

import json
import os
import sys
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))
STEPS = 48


def shade(point: complex) -> int:
    """From 255, far away, to 0: the point belongs to the set."""
    z = 0j
    for step in range(STEPS):
        z = z * z + point
        if abs(z) > 2:
            return 255 - 200 * step // STEPS
    return 0


def main() -> None:
    number = int(sys.argv[1])
    plan = json.loads((SHARED / "plan.json").read_text())
    width, height = plan["width"], plan["height"]
    first, end = plan["rows"][number]
    pixels = bytes(
        shade(complex(3 * x / width - 2.2, 2.4 * y / height - 1.2)) for y in range(first, end) for x in range(width)
    )
    (SHARED / f"strip-{number}.gray").write_bytes(pixels)
    print(f"rows {first} to {end - 1}: {pixels.count(0)} pixels belong to the set")


if __name__ == "__main__":
    main()
