"""The hard sets: cases for each way in which checkers are known to err, labelled by a person."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from traces.verify.rows import verify_rows

FOLDER = Path(__file__).resolve().parents[3] / "benchmarks"


def judged(name: str) -> list[tuple[dict[str, Any], str]]:
    path = FOLDER / name
    cases = [json.loads(line) for line in path.read_text().splitlines()]
    outcomes = [one.check.outcome for one in verify_rows(path, workers=1, timeout_s=1.0)]
    return list(zip(cases, outcomes, strict=True))


def test_every_case_of_the_hard_set_gets_the_verdict_a_person_gave() -> None:
    found = judged("hard_answers.jsonl")
    assert [case for case, outcome in found if case["verdict"] != outcome] == []
    assert len(found) >= 200
    assert min(Counter(case["verdict"] for case, _ in found).values()) >= 10


def test_the_adversarial_sets_have_no_false_accept_no_false_reject_and_few_unknown() -> None:
    """`not right` may be wrong or unknown; a right or wrong answer may be unknown, but seldom."""
    few = {"adversarial": 1, "second": 2, "third": 2, "fourth": 3}
    sets = {name: judged(f"{name}_answers.jsonl") for name in few}
    found = [one for each in sets.values() for one in each]
    fair = {
        "right": ("right", "unknown"),
        "wrong": ("wrong", "unknown"),
        "not right": ("wrong", "unknown"),
        "unknown": ("unknown",),
    }
    assert [case for case, outcome in found if outcome not in fair[case["verdict"]]] == []
    unknown = {
        name: sum(case["verdict"] in ("right", "wrong") and o == "unknown" for case, o in each)
        for name, each in sets.items()
    }
    assert {name: n for name, n in unknown.items() if n > few[name]} == {}
    assert {case["kind"] for case, _ in found} == {
        "math", "science", "mcq", "text", "code", "legal",
    }  # fmt: skip
