"""Asks the instances of a service in turn, looking up where they are before each request, until it is told to stop.

    python ask.py SERVICE

Prints each answer when it comes for the first time, and in the end how often each came. Exit code 0: every request
was answered.
"""

import signal
import sys
import threading
import urllib.request
from collections import Counter

from titan_sdk import TitanClient

PAUSE_S = 0.005


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
    told_to_stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: told_to_stop.set())
    answers: Counter[str] = Counter()
    with TitanClient() as client:
        while not told_to_stop.wait(PAUSE_S):
            answer = ask(client, sys.argv[1], answers.total())
            if answer not in answers:
                print(f"   new  {answer}", flush=True)
            answers[answer] += 1
    for answer, times in sorted(answers.items()):
        print(f"{times:6}  {answer}")
    sys.exit(any(answer.startswith("no ") for answer in answers))


if __name__ == "__main__":
    main()
