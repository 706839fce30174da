"""Pipelines that come as text: what is wrong with them, line by line, and that nothing of this machine is read."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from dashboard import drafts
from titan_sdk import local_files
from titan_sdk.errors import InvalidRequest
from titan_test_suite.pytests.support.dashboard_runs import client
from titan_test_suite.pytests.support.dashboards import FakeDashboard

# ── drafts ────────────────────────────────────────────────────────────────────────────────────────

PIPELINE = """name: sales
jobs:
  - id: extract
    file: etl.py
  - id: load
    file: {file}
    depends_on: [{parent}]
"""


def problems(text: str) -> list[tuple[int, str]]:
    return [(one.line, one.sentence) for one in drafts.read(text.encode(), ["etl.py", "project.zip"]).problems]


def test_a_good_one() -> None:
    assert problems(PIPELINE.format(file="etl.py", parent="extract")) == []


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../../etc/passwd", "./etl.py", "a/../../b", "/proc/self/environ", "'a\\b'", "/etc"]
)
def test_no_file_of_this_machine_is_looked_at(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []

    def find_file(path: Path) -> Path:
        looked.append(str(path))
        return path

    monkeypatch.setattr(local_files, "describe_file", lambda *_: pytest.fail("a file was read"))
    monkeypatch.setattr("titan_sdk.pipeline_file.find_file", find_file)
    found = problems(PIPELINE.format(file=file, parent="extract"))
    assert len(found) == 1 and found[0][0] == 6 and "perm_files/" in found[0][1]
    assert all(path.endswith("/pipeline.yaml") for path in looked)
    with pytest.raises(InvalidRequest):
        text = PIPELINE.format(file=file, parent="extract").encode()
        drafts.submit(client(), drafts.read(text, ["etl.py", file]), True)  # type: ignore[arg-type]


def test_a_name_that_is_published_is_not_looked_for_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of that name in the directory where the dashboard was started is not sent."""
    (tmp_path / "etl.py").write_text("secret")
    monkeypatch.chdir(tmp_path)
    answering = client(apply=object())
    draft = drafts.read(PIPELINE.format(file="etl.py", parent="extract").encode(), ["etl.py"])
    drafts.submit(answering, draft, True)  # type: ignore[arg-type]
    [(pipeline, _)] = answering.called("apply")
    assert pipeline.folder not in (tmp_path, Path()) and pipeline.folder.is_absolute()


def test_every_problem_has_its_line() -> None:
    text = PIPELINE.format(file="elt.py", parent="nobody") + "  - id: x\n    file: etl.py\n    depends_on: x2\n"
    text += "  - id: x2\n    file: etl.py\n    depends_on: x\n"
    assert problems(text) == [
        (6, "job 'load': there is no 'elt.py' in the master's perm_files/; did you mean 'etl.py'?"),
        (7, "job 'load' depends on 'nobody', which is not in this pipeline"),
        (10, "these jobs wait for each other: x -> x2 -> x"),
    ]


def test_many_missing_files_among_many_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What may be meant is told of the first ones only."""
    compared: list[int] = []

    def close(name: str, names: frozenset[str], n: int) -> list[str]:
        compared.append(len(names))
        return []

    monkeypatch.setattr(drafts.difflib, "get_close_matches", close)
    text = "jobs:\n" + "".join(f" - {{id: j{number}, file: f{number}.py}}\n" for number in range(2000))
    found = drafts.read(text.encode(), [f"g{number}.py" for number in range(1000)]).problems
    assert len(found) == 2000 and sum(compared) == drafts.MAX_COMPARED


def test_a_project_has_no_folder_here() -> None:
    [(line, sentence)] = problems("name: x\nproject: true\njobs:\n  - {id: a, file: etl.py}\n")
    assert line == 2 and "there is none" in sentence


def test_jobs_of_alerts_are_judged_too() -> None:
    text = "name: x\nschedule:\n  cron: '@daily'\n  on_failure:\n    job: {id: tell, file: /etc/shadow}\n"
    [(line, sentence)] = problems(text + "jobs:\n  - {id: a, file: etl.py}\n")
    assert line == 5 and sentence.startswith("on_failure: file '/etc/shadow' can not be used here")


def test_archives_go_by_their_own_names() -> None:
    text = (
        "defaults: {is_archive: true}\njobs:\n  - {id: a, file: project.zip/m.py}\n  - {id: b, file: /x.zip/m.py}\n"
    )
    assert [line for line, _ in problems(text)] == [4]


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"#" * (16 * 1024 * 1024 + 1), "pipeline.yaml is larger than 16 MiB, which no pipeline is"),
        (b"#" * (3 * 1024 * 1024), "larger than 2 MiB; use `titan apply`"),
        (b"jobs: [" + b"1," * 900_000 + b"]", "more than 100,000 lines and values; use `titan apply`"),
        (b"a: &a [x]\njobs: [" + b"*a," * 90_000 + b"]", "its aliases"),
        (b"[" * 100_000, "levels of nesting"),
        (b'jobs: !!python/object/apply:os.system ["id"]', "the tag"),
        (b"\xff", "is not UTF-8"),
        (b"", "the file is empty"),
        (b"jobs:\n\t- a", "a tab indents this line"),
    ],
)
def test_hostile_texts_are_refused_in_the_words_of_the_sdk(raw: bytes, sentence: str) -> None:
    [problem] = drafts.read(raw, []).problems
    assert sentence in problem.sentence and "/tmp" not in problem.sentence


def test_submitting_needs_a_login_and_shows_lines() -> None:
    dashboard = FakeDashboard(client())
    assert dashboard.browser.post("/submit", {"text": "x", "do": "submit"}).status_code == 401
    browser = dashboard.logged_in()
    assert browser.post("/submit", {"csrf": "no", "text": "x"}).status_code == 403
    text = PIPELINE.format(file="'<img src=x>'", parent="extract")
    answer = browser.post("/submit", {"text": text, "do": "submit"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 400 and "Line 6" in page and "<img" not in page
    assert not dashboard.client.called("apply")
    answer = browser.post("/submit", {"text": PIPELINE.format(file="etl.py", parent="extract"), "do": "preview"})
    page = answer.get_data(as_text=True)
    assert answer.status_code == 200 and 'value="submit"' in page and 'data-job="load"' in page
    assert not dashboard.client.called("apply"), "a preview submits nothing"


def test_a_file_goes_before_the_text() -> None:
    browser = FakeDashboard(client()).logged_in()
    answer = browser._http.post(
        "/submit", data={"csrf": browser.csrf, "text": "", "file": (io.BytesIO(b"jobs: 3"), "p.yaml")}
    )
    assert "jobs must be a list" in answer.get_data(as_text=True)
