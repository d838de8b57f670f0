from __future__ import annotations

from collections.abc import Iterator

import pytest

from traces.errors import UserError
from traces.gym import gym_prompts, split_of
from traces.record import Prompt
from traces.verify.check import Check
from traces.verify.gold import check_gold
from traces.verify.pool import Pool
from traces.verify.run import score_text


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=1, timeout_s=5.0) as shared:
        yield shared


def sums(count: int, split: str = "train", seed: int = 0) -> list[Prompt]:
    return gym_prompts("chain_sum", count, seed, split, config={"max_terms": 3})


def judge(prompt: Prompt, answer: str, pool: Pool) -> Check:
    assert prompt.reference is not None
    return score_text(prompt.reference, answer, lenient=False, pool=pool)


def test_the_same_arguments_give_the_same_prompts_and_splits_are_disjoint() -> None:
    train, test = sums(30), sums(10, "test")
    assert [p.id for p in train] == [p.id for p in sums(30)]
    assert len({p.id for p in (*train, *test, *sums(10, "test", seed=9))}) > 45
    questions = [p.messages[0].content for p in (*train, *sums(30, "train", seed=5))]
    assert {split_of("chain_sum", question) for question in questions} == {"train"}


def test_a_reference_holds_what_its_verdict_can_be_computed_from_again() -> None:
    reference = sums(1)[0].reference
    assert reference is not None
    instance = reference.instance
    assert (reference.kind, reference.task) == ("gym", "chain_sum")
    assert instance["config"] == {"max_terms": 3}
    assert instance["entry"]["answer"] == reference.answer
    assert instance["version"]


def test_the_scorer_judges_and_references_pass_it(pool: Pool) -> None:
    prompt = sums(1)[0]
    check_gold([prompt])
    assert prompt.reference is not None
    gold = prompt.reference.answer
    right = judge(prompt, f"Let me add.\n\nAnswer: {gold}", pool)
    assert (right.outcome, right.reason, right.verifier) == ("right", "score 1", "gym:chain_sum@1")
    assert judge(prompt, gold, pool).outcome == "right"
    assert judge(prompt, f"Answer: {int(gold) + 1}", pool).outcome == "wrong"
    assert judge(prompt, "  ", pool).outcome == "unknown"


def test_an_answer_of_many_lines_is_scored_whole(pool: Pool) -> None:
    prompt = gym_prompts("binary_matrix", 1, 0, "train")[0]
    assert prompt.reference is not None
    assert "\n" in prompt.reference.answer
    assert judge(prompt, prompt.reference.answer, pool).outcome == "right"
    assert judge(prompt, prompt.reference.answer.replace("0", "9"), pool).outcome == "wrong"


@pytest.mark.parametrize(
    ("dataset", "config", "message"),
    [
        ("chain_sums", {}, "no dataset 'chain_sums'"),
        ("chain_sum", {"terms": 3}, "refuses its config"),
        ("chain_sum", {"min_terms": 9}, "refuses its config"),
    ],
)
def test_a_wrong_dataset_is_one_line(dataset: str, config: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        gym_prompts(dataset, 1, 0, "train", config=config)


def test_too_few_different_problems_are_said() -> None:
    config = {"min_terms": 2, "max_terms": 2, "max_digits": 1, "allow_negation": False}
    with pytest.raises(UserError, match="gave only"):
        gym_prompts("chain_sum", 200, 0, "train", config=config)
