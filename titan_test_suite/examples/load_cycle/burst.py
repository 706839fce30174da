"""Submits more jobs at once than a worker has slots for: `burst.py [JOBS] [SECONDS]`, 60 of 2 s. Prints the run."""

import sys
from pathlib import Path

from titan_sdk import TitanClient, TitanJob

ASK = Path(__file__).parent / "ask.py"


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    seconds = sys.argv[2] if len(sys.argv) > 2 else "2"
    jobs = [TitanJob(f"ask-{number:02}", ASK, args=[seconds]) for number in range(1, count + 1)]
    with TitanClient() as client:
        print(client.submit_dag("burst", jobs))


if __name__ == "__main__":
    main()
