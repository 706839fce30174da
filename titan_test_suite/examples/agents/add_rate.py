"""Looks up the rate of a currency and adds it to rates.json in perm_files/: `add_rate.py CHF`."""

import json
import sys
import tempfile
from pathlib import Path

from titan_sdk import TitanClient
from titan_sdk.errors import NotFound

BANK = {"CHF": 1.05, "SEK": 0.09, "USD": 0.91}
"""Stands for the service that knows the rates."""


def main() -> None:
    currency = sys.argv[1]
    if currency not in BANK:
        sys.exit(f"the bank does not know {currency}")
    with TitanClient() as client, tempfile.TemporaryDirectory() as folder:
        try:
            rates = json.loads(client.fetch_artifact("rates.json"))
        except NotFound:
            rates = {}
        rates[currency] = BANK[currency]
        file = Path(folder) / "rates.json"
        file.write_text(json.dumps(rates, sort_keys=True))
        client.upload_file(file)
    print(f"rates.json knows {', '.join(sorted(rates))}")


if __name__ == "__main__":
    main()
