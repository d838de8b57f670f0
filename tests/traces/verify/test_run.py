from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from traces.errors import DataError, UserError
from traces.record import Message, Prompt, Reference, Sampling, Status, Trace, Verdict
from traces.tasks.families import FAMILIES, family, task_prompts
from traces.verify.gold import check_gold
from traces.verify.pool import Pool
from traces.verify.run import score_text, verify_all, verify_trace


def no_steps(instance: dict[str, Any], reasoning: str) -> None:
    return None


STEPLESS = family("sum-of-three")._replace(check_steps=no_steps)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=1, timeout_s=2.0) as shared:
        yield shared


TASK = Reference("task", "30", task="largest-of-four", instance={"numbers": [10, 30, 20, 11]})
WORK = "10 or 30: 30\n30 or 20: 30\n30 or 11: 30"


def pair(
    reference: Reference | None,
    answer: str | None,
    reasoning: str | None = None,
    status: Status = "ok",
    key: str = "k",
) -> tuple[Prompt, Trace]:
    prompt = Prompt("p", (Message("user", "What?"),), reference, source="p.jsonl:1")
    sampling = Sampling()
    trace = Trace(key, "p", 0, 0, status, "t", sampling, reasoning=reasoning, answer=answer)
    return prompt, trace


def verdicts(*pairs: tuple[Prompt, Trace], steps: bool = True, workers: int = 2) -> list[Verdict]:
    return list(verify_all(pairs, steps=steps, timeout_s=2.0, workers=workers))


def test_a_task_gets_a_verdict_on_the_answer_and_one_on_the_steps() -> None:
    found = verdicts(pair(TASK, "Answer: 30", WORK.replace("30 or 20: 30", "30 or 20: 20")))
    assert [(v.aspect, v.outcome) for v in found] == [("answer", "right"), ("steps", "wrong")]
    assert found[0].extracted == "30"
    assert found[1].reason == "30 or 20: 20: 30 is the larger"
    assert [v.outcome for v in verdicts(pair(TASK, "Answer: 30", WORK))] == ["right", "right"]
    assert verdicts(pair(TASK, "Answer: 30", WORK), steps=False) == [found[0]]


def test_without_separate_reasoning_the_steps_are_those_before_the_answer() -> None:
    found = verdicts(pair(TASK, f"{WORK}\nAnswer: 30"), pair(TASK, WORK))
    assert [v.outcome for v in found] == ["right", "right", "unknown", "right"]


def test_a_family_without_a_step_checker_gives_one_verdict() -> None:
    reference = Reference("task", "6", task=f"{__name__}:STEPLESS", instance={"numbers": [1, 2, 3]})
    assert [v.aspect for v in verdicts(pair(reference, "Answer: 9"))] == ["answer"]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_solution_of_each_family_is_right_and_a_changed_one_is_not(name: str) -> None:
    task = family(name)
    for prompt in task_prompts(name, 20, 0, "train"):
        reference = prompt.reference
        assert reference is not None
        worked, answer = task.solve(reference.instance)
        good = verdicts(pair(reference, answer, worked))
        assert [v.outcome for v in good] == ["right", "right"]
        bad = verdicts(pair(reference, answer + "1", worked.partition("\n")[2]))
        assert [v.outcome for v in bad] == ["wrong", "wrong"]


def test_a_number_too_long_to_convert_is_unknown() -> None:
    (answer, _) = verdicts(pair(TASK, "Answer: " + "9" * 5000, WORK))
    assert answer.outcome == "unknown"


@pytest.mark.parametrize("reference", [TASK, Reference("math", "8")])
@pytest.mark.parametrize("status", ["http_error", "refused", "timeout", "logprobs_missing"])
def test_a_failed_trace_is_unknown_with_its_status(reference: Reference, status: Status) -> None:
    (verdict,) = verdicts(pair(reference, "Answer: 8", status=status))
    assert (verdict.outcome, verdict.reason) == ("unknown", status)


def test_a_truncated_trace_is_judged_by_what_it_says() -> None:
    assert verdicts(pair(Reference("math", "8"), "Answer: 8", status="truncated"))[0].outcome == (
        "right"
    )
    unclosed = verdicts(pair(Reference("math", "8"), None, "Answer: 8", status="truncated"))
    assert (unclosed[0].outcome, unclosed[0].reason) == ("unknown", "no answer")


def test_without_a_reference_there_is_no_verdict(pool: Pool) -> None:
    assert verdicts(pair(None, "5")) == []
    assert verify_trace(*pair(None, "5"), steps=True, pool=pool) == []


def test_one_answer_verdict_each_in_order_and_the_same_from_any_number_of_workers(
    pool: Pool,
) -> None:
    cases = [("72", "72"), ("x+1", "1+x"), ("x+1", "x+2"), ("72", "7"), ("x", "x^2")] * 6
    pairs = [
        pair(Reference("math", gold), f"\\boxed{{{answer}}}", key=str(index))
        for index, (gold, answer) in enumerate(cases)
    ]
    found = verdicts(*pairs)
    assert [v.key for v in found] == [str(index) for index in range(len(cases))]
    assert [v.outcome for v in found[:5]] == ["right", "right", "wrong", "wrong", "wrong"]
    assert verdicts(*pairs, workers=1) == found
    one_by_one = [v for p in pairs for v in verify_trace(*p, steps=True, pool=pool)]
    assert one_by_one == found


def test_stopping_begins_no_further_trace() -> None:
    asked: list[int] = []

    def pairs() -> Iterator[tuple[Prompt, Trace]]:
        for index in range(100):
            asked.append(index)
            yield pair(Reference("math", "x+1"), "\\boxed{1+x}", key=str(index))

    found = list(
        verify_all(pairs(), steps=True, timeout_s=2.0, workers=1, stopping=lambda: len(asked) > 5)
    )
    assert [v.key for v in found] == ["0", "1", "2", "3", "4"]
    assert len(asked) == 6


def test_lenient_scoring_of_a_task_takes_the_last_number(pool: Pool) -> None:
    text = "10 < 30 and 30 > 20, so 30 shall win"
    strict = score_text(TASK, text, lenient=False, pool=pool)
    lenient = score_text(TASK, text, lenient=True, pool=pool)
    assert (strict.outcome, strict.reason) == ("unknown", "no answer")
    assert (lenient.outcome, lenient.rule, lenient.extracted) == ("right", "last_number", "30")
    marked = score_text(TASK, "20 and 30.\nAnswer: 20\nnot 30", lenient=True, pool=pool)
    assert marked.outcome == "wrong"


def test_an_unknown_verifier_or_task_is_the_users_mistake(pool: Pool) -> None:
    for reference in (Reference("horoscope", "x"), Reference("task", "x", task="nope")):
        with pytest.raises(UserError):
            score_text(reference, "Answer: x", lenient=False, pool=pool)


GOOD = [
    Reference("math", "72"),
    Reference("math", r"x^2 + \frac{1}{2}"),
    Reference("math", r"(-\infty, 3]"),
    Reference("math", "Janet has 5 + 3 eggs\n#### 8"),
    Reference("math", r"\text{yes}"),
    Reference("choice", "B", choices={"A": "x", "B": "y"}),
    Reference("choice", "C"),
    Reference("text", "Marie Curie"),
    Reference("science", "5.0 m/s"),
    Reference("code", '{"entry": "f", "tests": [[[1], 1]]}'),
    Reference("legal", '{"must_cite": ["42 U.S.C. 1983"], "allowed": ["365 U.S. 167"]}'),
    TASK,
]
BAD = [
    Reference("math", " "),
    Reference("math", r"\frac{1}{"),
    Reference("math", "9^{9^{9^{9^{9}}}}"),
    Reference("choice", "D", choices={"A": "x", "B": "y"}),
    Reference("choice", "many"),
    Reference("text", "..."),
    Reference("science", "\\frac{1}{"),
    Reference("code", '{"entry": "f", "tests": []}'),
    Reference("code", "def f"),
    Reference("legal", '{"must_cite": "42 U.S.C. 1983"}'),
    Reference("task", "9", task="largest-of-four", instance={"numbers": [10, 30, 20, 11]}),
    Reference("task", "9", task="nope"),
    Reference("rubric", "x"),
]


def prompts(references: list[Reference]) -> list[Prompt]:
    return [Prompt(str(i), (), r, source=f"p.jsonl:{i}") for i, r in enumerate(references)]


def test_good_references_pass() -> None:
    check_gold([*prompts(GOOD), Prompt("none", ())])


@pytest.mark.parametrize("reference", BAD)
def test_a_reference_that_its_verifier_does_not_accept_is_named(reference: Reference) -> None:
    with pytest.raises(DataError, match=r"^1 prompt cannot be verified:\np.jsonl:0: "):
        check_gold(prompts([reference]))


def test_three_bad_references_are_named_and_all_counted() -> None:
    with pytest.raises(DataError) as caught:
        check_gold(prompts([*GOOD, *BAD]))
    lines = caught.value.message.splitlines()
    assert lines[0] == f"{len(BAD)} prompts cannot be verified:"
    assert [line.split(": ")[0] for line in lines[1:4]] == [
        f"p.jsonl:{len(GOOD) + n}" for n in range(3)
    ]
    assert lines[4:] == [f"and {len(BAD) - 3} more"]


def test_a_missing_reference_is_a_fault_where_one_is_needed() -> None:
    with pytest.raises(DataError, match=r"p.jsonl:7: no reference answer"):
        check_gold([Prompt("x", (), source="p.jsonl:7")], need_reference=True)
