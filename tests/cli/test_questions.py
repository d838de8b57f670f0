"""`distill questions`: what is printed of what was written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fault_server import FaultServer, good

RECIPE = """\
name: lab
prompts:
  - {kind: documents, paths: [rock.md], per_passage: 1}
teacher: {kind: endpoint, base_url: "%s", model: m, licence: mit}
student: {model: some/student}
evaluate: {problems: [{kind: task, task: largest-of-four, count: 4}]}
"""
FACT = "Rock A melts at 700 degrees."
ITEM = {"question": "When does rock A melt?", "answer": "700 degrees", "quote": FACT}


@pytest.mark.parametrize(
    ("reply", "code", "questions"), [("no list", 2, 0), (json.dumps([ITEM]), 0, 1)]
)
def test_the_counts_are_printed_and_none_usable_is_an_error(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    distill: Any,
    reply: str,
    code: int,
    questions: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rock.md").write_text(FACT)
    with FaultServer(lambda ask: good(reply)) as server:
        Path("r.yaml").write_text(RECIPE % server.url)
        result = distill("questions", "r.yaml", "--quiet", "--json")
    assert (result.code, json.loads(result.out)[0]["questions"]) == (code, questions)
    said = "error: no question was written that can be used\n" if code else ""
    assert result.err.partition("hint:")[0] == said


def test_check_says_what_holds_before_the_questions_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, distill: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rock.md").write_text(FACT)
    with FaultServer(lambda ask: good("4")) as server:
        Path("r.yaml").write_text(RECIPE % server.url)
        result = distill("check", "r.yaml")
    assert result.code == 0, result.err
    assert "1 of 1 passages have no questions yet; m (endpoint) is ready to write" in result.out
    assert "the teacher m (endpoint) is ready\n" in result.out
    assert "can be checked after `distill questions r.yaml`" in result.out
    unable = distill("check", "r.yaml", "--set", "teacher={kind: solver}")
    assert unable.code == 2
    assert "cannot write questions" in unable.err
