from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.errors import UserError
from traces.tasks.answers import whole_number
from traces.tasks.families import FAMILIES, Family, Instance, family, split_of, task_prompts

names = pytest.mark.parametrize("name", FAMILIES)
seeds = st.integers(0, 2**32)


def draw(name: str, seed: int) -> tuple[Family, Instance]:
    task = family(name)
    return task, task.generate(random.Random(seed))


@names
@given(seeds)
def test_worked_solution_is_right_in_answer_and_steps(name: str, seed: int) -> None:
    task, instance = draw(name, seed)
    solution = task.solve(instance)
    assert task.check_answer(instance, solution.answer) == "right"
    check = task.check_steps(instance, solution.reasoning)
    assert check is not None
    assert check.outcome == "right"
    numbers = instance["numbers"]
    assert all(str(number) in task.question(instance) for number in numbers)


@names
@given(seeds, st.data())
def test_any_changed_number_or_sign_makes_the_steps_wrong(
    name: str, seed: int, data: st.DataObject
) -> None:
    task, instance = draw(name, seed)
    reasoning = task.solve(instance).reasoning
    changes = {"<": ">", ">": "<", "even": "odd", "odd": "even"}
    spots = list(re.finditer(r"\d+|[<>]|even|odd", reasoning))
    spot = data.draw(st.sampled_from(spots))
    other = changes.get(spot[0]) or str(int(spot[0]) + data.draw(st.sampled_from([-1, 1, 10])))
    changed = reasoning[: spot.start()] + other + reasoning[spot.end() :]
    check = task.check_steps(instance, changed)
    assert check is not None
    assert check.outcome == "wrong"
    assert check.reason


@names
@given(seeds, st.data())
def test_missing_doubled_or_swapped_steps_are_wrong(
    name: str, seed: int, data: st.DataObject
) -> None:
    task, instance = draw(name, seed)
    lines = task.solve(instance).reasoning.splitlines()
    at = data.draw(st.integers(0, len(lines) - 2))
    variants = [
        lines[:at] + lines[at + 1 :],
        [*lines[: at + 1], *lines[at:]],
        [*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]],
        [*lines, "so that is it"],
    ]
    for variant in variants:
        if variant == lines:  # two equal steps swapped
            continue
        check = task.check_steps(instance, "\n".join(variant))
        assert check is not None
        assert check.outcome == "wrong", variant


@names
@given(seeds, st.integers(-200, 400))
def test_only_the_answer_is_right(name: str, seed: int, number: int) -> None:
    task, instance = draw(name, seed)
    expected = "right" if str(number) == task.answer(instance) else "wrong"
    assert task.check_answer(instance, f"Answer: {number}") == expected


@names
def test_no_test_problem_is_a_training_problem_of_any_seed(name: str) -> None:
    task = family(name)

    def canonical(split: str, seed: int) -> set[str]:
        prompts = task_prompts(name, 60, seed, split)
        found = {task.canonical(p.reference.instance) for p in prompts if p.reference}
        assert len(found) == 60
        return found

    training = set.union(*(canonical("train", seed) for seed in range(4)))
    held_out = set.union(*(canonical("test", seed) for seed in range(4)))
    assert not training & held_out
    assert len(training) > 200


@names
@given(seeds)
def test_order_of_the_numbers_does_not_change_the_split(name: str, seed: int) -> None:
    task, instance = draw(name, seed)
    numbers = instance["numbers"]
    shuffled = {"numbers": random.Random(seed + 1).sample(numbers, len(numbers))}
    assert split_of(task, shuffled) == split_of(task, instance)


@names
def test_about_a_quarter_of_all_problems_are_for_testing(name: str) -> None:
    task = family(name)
    rng = random.Random(0)
    share = sum(split_of(task, task.generate(rng)) == "test" for _ in range(2000)) / 2000
    assert 0.2 < share < 0.3


@names
def test_problems_are_the_same_for_the_same_seed_and_new_ones_are_added(name: str) -> None:
    assert task_prompts(name, 30, 1, "train")[:10] == task_prompts(name, 10, 1, "train")
    assert task_prompts(name, 10, 1, "train") != task_prompts(name, 10, 2, "train")


@pytest.mark.parametrize(
    ("response", "strict", "lenient"),
    [
        ("Answer: 47", "47", "47"),
        ("**Answer:** 47.", "47", "47"),
        ("the answer is\nAnswer: 12\nAnswer: 47", "47", "47"),
        ("answer = 047", "47", "47"),
        ("Answer: -3", "-3", "-3"),
        ("The largest number is 47.", "47", "47"),
        ("12 is smaller. The largest is **47**", "47", "47"),
        ("12 < 47, so I take 47", None, "47"),
        ("47 is the largest of 12, 30 and 25", None, "25"),
        ("Answer: forty-seven", None, None),
        ("", None, None),
        ("The answer is 47 because 12 is smaller", None, "12"),
    ],
)
def test_whole_number_is_read(response: str, strict: str | None, lenient: str | None) -> None:
    assert whole_number(response, False) == strict
    assert whole_number(response, True) == lenient


@given(st.text(alphabet="answer: is47-.\n", max_size=40))
def test_what_is_read_strictly_is_read_leniently_too(response: str) -> None:
    if (strict := whole_number(response, False)) is not None:
        assert whole_number(response, True) == strict


def test_no_answer_is_unknown() -> None:
    task, instance = draw("largest-of-four", 0)
    assert task.check_answer(instance, "I do not know") == "unknown"


def test_family_of_ones_own_is_found_by_its_dotted_path() -> None:
    assert family("traces.tasks.sums:FAMILY") is family("sum-of-three")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smallest", "no task family 'smallest'"),
        ("no.such.module:FAMILY", "cannot load"),
        (":FAMILY", "cannot load"),
        (".sums:FAMILY", "cannot load"),
        ("traces.tasks.sums:NONE", "cannot load"),
        ("traces.tasks.sums:solve", "is not a task family but function"),
    ],
)
def test_unknown_family_is_the_users_to_mend(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        family(name)


def test_family_with_too_few_problems_says_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = family("sum-of-three")._replace(
        name="small", generate=lambda rng: {"numbers": [rng.randrange(3), 0, 0]}
    )
    monkeypatch.setattr("traces.tasks.families.family", lambda name: small)
    with pytest.raises(UserError, match=r"only [0-3] different train problems, not 5"):
        task_prompts("small", 5, 0, "train")
