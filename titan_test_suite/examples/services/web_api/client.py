"""Asks the API of its run for the prime factors of some numbers: `client.py NUMBER …`."""

import json
import os
import sys
import urllib.request

ADDRESS = os.environ.get("TITAN_SERVICE_API", "127.0.0.1:8600")


def main() -> None:
    for number in sys.argv[1:]:
        with urllib.request.urlopen(f"http://{ADDRESS}/factors/{number}") as answer:
            print(number, "=", " · ".join(map(str, json.load(answer)["factors"])))


if __name__ == "__main__":
    main()
