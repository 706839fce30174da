"""Text bodies of the Java system that were right until somebody touched them: jobs that can be run, or a refusal.

`TITAN_TORTURE=1` makes it long. `TITAN_SEED=…` repeats a run whose seed was printed.
"""

from __future__ import annotations

import base64
import random
import re

from titan_core.errors import InvalidRequest
from titan_core.protocol import text
from titan_core.protocol.checks import check_job, check_path, check_sha256
from titan_core.protocol.messages import UploadAsset
from titan_core.protocol.payloads import READERS
from titan_core.protocol.text import Submission, Upload
from titan_test_suite.pytests.support.mutations import mutated_bytes
from titan_test_suite.pytests.support.seeds import TORTURE, announced_seed

ROUNDS = 1_000_000 if TORTURE else 20_000
B64 = base64.b64encode(b"print('a script that is somewhat longer than fifty characters')\n").decode()

SUBMISSIONS = {
    text.parse_dag: (
        f"DAG-a|RUN_PAYLOAD|a.py|--x 1|{B64}|GENERAL|1|0|[]",
        f"b|GPU|RUN_PAYLOAD|b.py|{B64}|GPU|7|1500|[DAG-a,c]|AFFINITY",
        f"c|DEPLOY_PAYLOAD|c.sh|{B64}|8080|GENERAL|1|0|[a]|STICKY",
        "d|RUN_ARCHIVE|p.zip/src/main.py|a|b|GENERAL|-3|0|[]",
        "e|GPU|START_ARCHIVE_SERVICE|p.zip/run.sh|args|9000|GPU|1|0|[a,b]",
        "f|RUN|x.sh|GENERAL|1|0|[];g|GPU|train.py|2|10|[f]",
    ),
    text.parse_job: (f"a|RUN_PAYLOAD|a.py|x|{B64}|GENERAL|3|100", "x.py", "job|x.py|500", "RUN|x.py|GPU|2|0"),
    text.parse_run: ("x.py|GENERAL", "dir/x.sh"),
    text.parse_deploy: ("x.py|8080|GENERAL", "Worker.jar|9001"),
}
OTHERS = {
    text.parse_stop: ("DAG-service", "run-1/service"),
    text.parse_get_logs: ("a", "run-1/DAG-a"),
    text.parse_get_job: ("a",),
    text.parse_cancel: ("a",),
    text.parse_kill_worker: ("localhost|8081", "::1|65535"),
    text.parse_upload: (f"x.py|{B64}", "dir/x.zip|"),
    text.parse_fetch: ("x.py", "dir/x.zip"),
}
TOKENS = ["|", ";", "[", "]", ",", "/", "..", ".zip/", " ", "\0", "\x1c", "é", "٣", "-1", "9" * 16, "1e9", "", "DAG-"]
TOKENS += [B64, "AFFINITY", "STICKY", "GENERAL", *READERS]


def test_mutated_bodies_are_read_or_refused() -> None:
    dice = random.Random(announced_seed())
    forms = [(parse, body) for table in (SUBMISSIONS, OTHERS) for parse, bodies in table.items() for body in bodies]
    for _ in range(ROUNDS):
        parse, body = dice.choice(forms)
        for _ in range(dice.randrange(1, 4)):
            body = _mutated(dice, body)
        try:
            _check(parse(body))
        except InvalidRequest as error:
            assert str(error)
            assert len(str(error)) < 2000, "the refusal repeats what was sent"


def _mutated(dice: random.Random, body: str) -> str:
    parts = re.split(r"([|;,\[\]/ ])", body)
    place = dice.randrange(len(parts))
    match dice.randrange(5):
        case 0:
            parts[place] = dice.choice(TOKENS)
        case 1:
            parts.insert(place, dice.choice(TOKENS))
        case 2:
            del parts[place]
        case 3:
            parts.insert(place, dice.choice(parts))
        case _:
            return mutated_bytes(dice, body.encode(errors="replace")).decode(errors="replace")
    return "".join(parts)


def _check(read: object) -> None:
    """What was read can be asked of the master as it is."""
    match read:
        case Submission(jobs, contents):
            assert jobs
            for job in jobs:
                check_job(job)
            for content in contents:
                assert check_sha256(content.sha256) and content.data
        case Upload(UploadAsset(name, sha256, size), data):
            assert check_path(name, "name") and check_sha256(sha256)
            assert size == len(data)
        case _:
            read.encode()  # type: ignore[attr-defined]


def test_the_longest_body_is_read_in_time_that_grows_with_it() -> None:
    """What makes each reader look longest; a pattern or a loop that looks twice would never end."""
    for filler in ("|", ";", "a;", "[", ",", "a|", " ", "9", "RUN|", "a,", "A"):
        body = filler * (256 * 1024 // len(filler))
        for parse in (*SUBMISSIONS, *OTHERS):
            for asked in (body, f"a|RUN|x.sh|1|0|[{body}]", f"a|RUN_PAYLOAD|{body}"):
                try:
                    parse(asked)
                except InvalidRequest as error:
                    assert len(str(error)) < 2000
