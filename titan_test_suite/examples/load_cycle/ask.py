"""Waits for an answer that takes its time, as most of what asks somebody else does: `ask.py SECONDS`.

Notes down in `answers` which job has asked, and in which attempt.
"""

import os
import sys
import time
from pathlib import Path

ANSWERS = Path(os.environ.get("TITAN_SHARED", ".")) / "answers"


def main() -> None:
    time.sleep(float(sys.argv[1]))
    job, attempt = os.environ.get("TITAN_JOB_ID", "by-hand"), os.environ.get("TITAN_ATTEMPT", "1")
    with open(ANSWERS, "a") as answers:
        answers.write(f"{job} {attempt}\n")
    print(f"{job} has its answer")


if __name__ == "__main__":
    main()
