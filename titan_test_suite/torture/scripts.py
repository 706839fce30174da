"""What the jobs of a storm run: each tells the ledger when it starts, and when it ends by itself.

A line is one write to a file opened for appending, so lines of many processes do not mix:

    start|end <run id> <job id> <attempt> <token> <seconds since the epoch> <pid> <exit code> [<schedule> <slot>]

where the last two are what the jobs of a schedule are told of themselves, and only theirs are there. STORM_LEDGER
names the directory; every worker's jobs write a file of their own there.
"""

from __future__ import annotations

from pathlib import Path

LEDGER_VARIABLE = "STORM_LEDGER"

NOTE = """\
note() {
    local fire=${TITAN_SCHEDULE:+ $TITAN_SCHEDULE $TITAN_SCHEDULED_FOR}
    echo "$1 $TITAN_RUN_ID $TITAN_JOB_ID $TITAN_ATTEMPT $TITAN_ATTEMPT_TOKEN ${EPOCHREALTIME/,/.} $$ $2$fire" \\
        >> "$STORM_LEDGER/$TITAN_WORKER"
}
"""

STEP = f"""\
# step.sh SECONDS FAILURES: works so long; the first so many attempts fail.
{NOTE}
note start 0
[ "$1" = 0 ] || sleep "$1"
code=$(( TITAN_ATTEMPT <= $2 ? 3 : 0 ))
note end $code
exit $code
"""

HOLD = f"""\
# hold.sh: stays until it is stopped, with children that do not care for that.
{NOTE}
note start 0
(trap '' TERM HUP; sleep 1000) &
setsid sleep 1000 &
sleep 1000
note end 0
"""

FLAP = f"""\
# flap.sh: ends by itself, not well, again and again; stays once the storm is over.
{NOTE}
note start 0
end=$(( SECONDS + 1 + RANDOM % 4 ))
until [ -e "$STORM_LEDGER.calm" ]; do
    [ $SECONDS -lt $end ] || {{ note end 7; exit 7; }}
    sleep 0.2
done
sleep 1000
"""

TICK = f"""\
# tick.sh SECONDS EACH: works so long one time in EACH, and else no time at all.
{NOTE}
note start 0
[ $(( RANDOM % $2 )) != 0 ] || sleep "$1"
note end 0
"""

GROW = '''\
"""grow.py COUNT STEP: adds COUNT jobs to its own run, once, however often it is tried."""

import hashlib
import os
import sys
import time
from pathlib import Path

from titan_core.protocol.messages import AssetContent, JobSpec, SubmitRun, Submitted, Task
from titan_sdk.access import Access, OwnAttempt
from titan_sdk.errors import TitanError
from titan_sdk.transport import Transport

PATIENCE_S = 60.0


def note(what, code):
    names = ("RUN_ID", "JOB_ID", "ATTEMPT", "ATTEMPT_TOKEN")
    facts = " ".join(os.environ[f"TITAN_{name}"] for name in names)
    line = f"{what} {facts} {time.time():.6f} {os.getpid()} {code}\\n"
    with open(Path(os.environ["STORM_LEDGER"]) / os.environ["TITAN_WORKER"], "a") as file:
        file.write(line)


def grown(count, step):
    content = Path(step).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    task = Task("step.sh", digest, args=("0", "0"), env=(("STORM_LEDGER", os.environ["STORM_LEDGER"]),))
    own = OwnAttempt.of()
    jobs = tuple(JobSpec(f"grown-{number}", task, (os.environ["TITAN_JOB_ID"],)) for number in range(count))
    request_id = hashlib.sha256(os.environ["TITAN_IDEMPOTENCY_KEY"].encode()).digest()[:16]
    return SubmitRun(own.run_id, jobs, request_id, own.run_id, own.token, (AssetContent(digest, content),))


def submit(request):
    transport, until_at = Transport(Access(), 5.0), time.monotonic() + PATIENCE_S
    while True:
        try:
            return transport.ask(request, Submitted)
        except TitanError as error:
            if not error.retryable or time.monotonic() > until_at:
                raise
        time.sleep(0.1)


note("start", 0)
submit(grown(int(sys.argv[1]), sys.argv[2]))
note("end", 0)
'''


class Scripts:
    """The scripts as files in `directory`; `ledger` is where their jobs write."""

    def __init__(self, directory: Path, ledger: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        ledger.mkdir(parents=True, exist_ok=True)
        self.env = {LEDGER_VARIABLE: str(ledger)}
        self.step = _write(directory / "step.sh", STEP)
        self.hold = _write(directory / "hold.sh", HOLD)
        self.flap = _write(directory / "flap.sh", FLAP)
        self.tick = _write(directory / "tick.sh", TICK)
        self.grow = _write(directory / "grow.py", GROW)
        self._calm = ledger.with_name(f"{ledger.name}.calm")

    def calm(self) -> None:
        """What ends by itself does so no more."""
        self._calm.touch()


def _write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)
