"""Made answers: labelled school mathematics is judged as labelled, hostile answers cost little."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from benchmarks.school_answers import hostile, solutions
from traces.record import Reference
from traces.verify.check import Check
from traces.verify.pool import Pool
from traces.verify.run import begin_check, score_text

BUSY = "while True: pass"


def test_school_mathematics_is_judged_as_labelled_mostly_without_algebra() -> None:
    made = list(solutions(400, seed=7))
    begun = [
        begin_check(Reference("math", one.gold), one.response, question=one.question)
        for one in made
    ]
    with Pool(workers=1, timeout_s=2.0) as pool:
        outcomes = [(c if isinstance(c, Check) else c(pool)).outcome for c in begun]
    other = [
        one
        for one, outcome in zip(made, outcomes, strict=True)
        if outcome != ("right" if one.right else "wrong")
    ]
    assert len(other) <= 0.005 * len(made), other
    assert sum(isinstance(check, Check) for check in begun) >= 0.8 * len(begun)


@pytest.mark.parametrize("count", [150, pytest.param(10_000, marks=pytest.mark.exhaustive)])
def test_hostile_answers_are_never_right_and_lose_no_worker(count: int) -> None:
    with Pool(workers=1, timeout_s=1.0) as pool:
        reference = Reference("math", "5x")
        checks = [
            score_text(reference, response, lenient=False, pool=pool)
            for response in hostile(count, seed=3)
        ]
        assert score_text(reference, "\\boxed{x*5}", lenient=False, pool=pool).outcome == "right"
    assert {check.outcome for check in checks} == {"wrong", "unknown"}
    assert not [check for check in checks if check.reason in ("worker lost", "time")]


def test_the_verdicts_are_the_same_on_a_machine_with_eight_times_its_load() -> None:
    cases = [("x+1", "1+x"), ("x+1", "x"), ("1", "9^{9^{9}}"), ("\\sqrt{8}", "2\\sqrt{2}")] * 2

    def judge(pool: Pool) -> list[str]:
        def one(case: tuple[str, str]) -> str:
            text = f"\\boxed{{{case[1]}}}"
            return score_text(Reference("math", case[0]), text, lenient=False, pool=pool).outcome

        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(one, cases))

    with Pool(workers=2, timeout_s=0.3) as pool:
        quiet = judge(pool)
        load = [
            subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(8 * (os.cpu_count() or 1))
        ]
        try:
            loaded = judge(pool)
        finally:
            for process in load:
                process.kill()
                process.wait()
    assert loaded == quiet == ["right", "wrong", "unknown", "right"] * 2
