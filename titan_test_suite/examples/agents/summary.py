"""Says what the imported orders are worth together."""

import json
import os
from pathlib import Path

SHARED = Path(os.environ.get("TITAN_SHARED", "."))


def main() -> None:
    orders = json.loads((SHARED / "orders.json").read_text())
    print(f"{len(orders)} orders, {sum(orders.values()):.2f} EUR")


if __name__ == "__main__":
    main()
