"""Checks a backup, as thoroughly as the cluster has time for: its load decides which graph is submitted.

    idle:  make_backup ─┬─▶ verify-1 ─┐        busy:  make_backup ──▶ sample
                        ├─▶   …      ─┼─▶ sum_up
                        └─▶ verify-4 ─┘

Run it by hand, or let a job run it: inside a job the client finds its master by itself.
"""

import argparse
from pathlib import Path

from titan_sdk import RunHandle, TitanClient, TitanJob

HERE = Path(__file__).parent
PARTS = 4


def load(client: TitanClient) -> float:
    """The share of the cluster's slots that is taken: 0.0 to 1.0; 1.0 when there are none."""
    workers = [worker for worker in client.workers() if worker.state == "ONLINE"]
    slots = sum(worker.slots for worker in workers)
    return sum(worker.used for worker in workers) / slots if slots else 1.0


def thorough() -> list[TitanJob]:
    """Every file, in parts that run side by side."""
    parts = [
        TitanJob(f"verify-{part}", HERE / "verify.py", args=["--part", part, "--of", PARTS], parents="make_backup")
        for part in range(1, PARTS + 1)
    ]
    sum_up = TitanJob("sum_up", HERE / "sum_up.py", parents=[part.job_id for part in parts])
    return [TitanJob("make_backup", HERE / "make_backup.py"), *parts, sum_up]


def light() -> list[TitanJob]:
    """One file in ten, in one job that lets others go first."""
    return [
        TitanJob("make_backup", HERE / "make_backup.py", priority=0),
        TitanJob("sample", HERE / "verify.py", args=["--every", 10], parents="make_backup", priority=0),
    ]


def switch(client: TitanClient, busy_from: float) -> RunHandle:
    taken = load(client)
    busy = taken >= busy_from
    print(f"{taken:.0%} of the slots are taken: a {'light' if busy else 'thorough'} check")
    return client.submit_dag("check-light" if busy else "check-thorough", light() if busy else thorough())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy-from", type=float, default=0.5, metavar="SHARE", help="of the slots (default: 0.5)")
    options = parser.parse_args()
    with TitanClient() as client:
        run = switch(client, options.busy_from)
        print(f"{run}: {run.result().state}")


if __name__ == "__main__":
    main()
