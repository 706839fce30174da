"""An agent that heals a job: reads the log of its failure, submits the fix, has the job run again.

    python agentic_healer.py JOB        by hand: JOB is any key that `titan status` takes
    args: [JOB]                         as a job: JOB is one of its own run, which then grows by the fixes

It goes on until the job is COMPLETED, or dies of something that it knows no remedy for. `diagnose` is
the part to replace by something cleverer, such as a question to a language model.
"""

import os
import re
import sys
from pathlib import Path

from titan_sdk import TitanClient, TitanJob

HERE = Path(__file__).parent
ROUNDS = 5
REMEDIES = {
    re.compile(r"no rate for ([A-Z]{3})"): "add_rate.py",
}
"""What a log says, and which script helps; it is given the word in parentheses."""


def diagnose(log: str) -> TitanJob | None:
    """The job that removes the cause of the failure; None = it is not known."""
    for symptom, script in REMEDIES.items():
        if found := symptom.search(log):
            return TitanJob(f"fix-{found[1]}", HERE / script, args=[found[1]])
    return None


def heal(client: TitanClient, key: str) -> bool:
    """Whether the job ends well."""
    for _ in range(ROUNDS):
        job = client.wait_for_job(key)
        key = f"{job.run_id}/{job.job_id}"  # a short key may mean another job, or a whole run, by the next round
        if job.state == "COMPLETED":
            return True
        print(f"{key} is {job.state}: {job.reason}")
        fix = diagnose(client.fetch_logs(key)) if job.state == "DEAD" else None
        if fix is None:
            return False
        apply_fix(client, job.run_id, fix)
        print(client.retry(key).text)
    return client.wait_for_job(key).state == "COMPLETED"


def apply_fix(client: TitanClient, run_id: str, fix: TitanJob) -> None:
    """Run the fix to its end: in the sick job's run if that goes on, else in one of its own."""
    print(f"submitting {fix.job_id}")
    over = client.run(run_id).final
    run = client.submit_dag("heal", [fix], run_id=None if over else run_id)
    done = client.wait_for_job(f"{run}/{fix.job_id}")
    if done.state != "COMPLETED":
        sys.exit(f"{fix.job_id} is {done.state} itself: {done.reason}")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    own_run = os.environ.get("TITAN_RUN_ID")
    key = f"{own_run}/{sys.argv[1]}" if own_run else sys.argv[1]
    with TitanClient() as client:
        if not heal(client, key):
            sys.exit(f"no remedy is known for {key}")
        print(f"{key} is COMPLETED")


if __name__ == "__main__":
    main()
