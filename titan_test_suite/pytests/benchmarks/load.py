"""Jobs at a steady rate, from a process of its own, until SIGTERM.

    python -m titan_test_suite.pytests.benchmarks.load HOME PORT RATE PROGRAM OUTPUT

submits RATE jobs a second, a tenth of them at a time; each runs PROGRAM with OUTPUT as its argument. When the
master is slower than that, submissions are late but never skipped.
"""

from __future__ import annotations

import sys
import time

from titan_sdk import TitanClient, TitanJob

BATCHES_PER_S = 10


def main(home: str, port: str, rate: str, program: str, output: str) -> None:
    with TitanClient(home=home, host="127.0.0.1", port=int(port)) as client:
        jobs = [
            TitanJob(job_id=f"job-{number}", filename=program, args=[output])
            for number in range(int(rate) // BATCHES_PER_S)
        ]
        next_at = time.monotonic()
        while True:
            client.submit_dag("load", jobs)
            next_at += 1 / BATCHES_PER_S
            time.sleep(max(0.0, next_at - time.monotonic()))


if __name__ == "__main__":
    main(*sys.argv[1:])
