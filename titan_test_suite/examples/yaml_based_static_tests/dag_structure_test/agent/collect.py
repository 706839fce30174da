"""Brings the shop's access log into the shared directory; with --late, the lines that arrived after it.

The lines are made up, the same ones for the same --seed, and one in a thousand is damaged.
"""

import argparse
import os
import random
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))
ROUTES = {"/": 12, "/search": 90, "/cart": 45, "/checkout": 160, "/login": 60}
"""Each route, and how many milliseconds it usually takes."""
STATUSES = (200,) * 94 + (404,) * 4 + (500,) * 2


def line(number: int, chance: random.Random) -> str:
    route = chance.choice(list(ROUTES))
    took_ms = max(1, round(chance.lognormvariate(0, 0.5) * ROUTES[route]))
    clock = f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
    text = f'10.0.0.{chance.randrange(1, 255)} [{clock}] "GET {route}" {chance.choice(STATUSES)} {took_ms}ms'
    return text[:20] if chance.randrange(1000) == 0 else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--late", action="store_true")
    options = parser.parse_args()
    target = SHARED / ("access-late.log" if options.late else "access.log")
    chance = random.Random(options.seed + options.late)
    target.write_text("".join(line(number, chance) + "\n" for number in range(options.lines)))
    print(f"{target.name}: {options.lines} lines, {target.stat().st_size // 1024} KiB")


if __name__ == "__main__":
    main()
