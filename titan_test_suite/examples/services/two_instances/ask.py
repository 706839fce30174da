"""Asks the instances of a service in turn, looking up where they are before each request: `ask.py SERVICE [REQUESTS]`.

Prints how often it got which answer. Exit code 0: every request was answered.
"""

import sys
import urllib.request
from collections import Counter

from titan_sdk import TitanClient


def ask(client: TitanClient, service: str, number: int) -> str:
    """The answer to one request; what went wrong, if there is none."""
    addresses = client.service_addresses(service)
    if not addresses:
        return "no instance is ready"
    try:
        with urllib.request.urlopen(f"http://{addresses[number % len(addresses)]}/", timeout=10) as answer:
            return answer.read().decode().strip()
    except OSError as error:
        return f"no answer: {error}"


def main() -> None:
    service = sys.argv[1]
    requests = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    with TitanClient() as client:
        answers = Counter(ask(client, service, number) for number in range(requests))
    for answer, times in sorted(answers.items()):
        print(f"{times:6}  {answer}")
    sys.exit(any(answer.startswith("no ") for answer in answers))


if __name__ == "__main__":
    main()
