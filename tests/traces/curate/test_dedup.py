from __future__ import annotations

import random
from typing import Any, NamedTuple

import pytest

from traces.curate.annotate import Item
from traces.curate.decide import curate
from traces.curate.scan import NGRAM
from traces.curate.tokens import tokens
from traces.record import Message, Prompt, Sampling, Trace, Verdict

WORDS = [f"{a}{b}" for a in "bcdfgklmn" for b in ("a", "e", "i", "o", "u", "ar", "en", "il", "or")]


class Candidate(NamedTuple):
    key: str
    question: str
    text: str
    right: bool = False


class Duplicate(NamedTuple):
    of: str
    similarity: float
    exact: bool


OPTIONS: dict[str, Any] = dict.fromkeys(
    [
        *("max_tokens", "foreign_script", "loop_tail_chars", "loop_ngram_share"),
        *("loop_masked_share", "max_compression", "overlap_coverage", "overlap_ngram"),
        "per_prompt",
    ]
)
OPTIONS |= {
    "policy": "keep",
    "wrong_steps": "keep",
    "keep_truncated": False,
    "min_tokens": 0,
}
OPTIONS |= {"require_reasoning": False, "phrases": ()}


def find_duplicates(candidates: list[Candidate], threshold: float | None) -> dict[str, Duplicate]:
    items = [
        Item(
            Prompt(one.question, (Message("user", one.question),)),
            Trace(one.key, one.question, 0, 0, "ok", "t", Sampling(), answer=one.text),
            [Verdict(one.key, "answer", "math@1", "right")] if one.right else [],
        )
        for one in candidates
    ]
    found = {}
    for decision in curate(items, near_duplicate=threshold, **OPTIONS):
        if decision.rule in ("exact_duplicate", "near_duplicate"):
            alike, _, of = str(decision.value).partition(" of ")
            exact = decision.rule == "exact_duplicate"
            found[decision.key] = Duplicate(of, float(alike), exact)
    return found


def prose(seed: int, count: int = 120) -> str:
    chosen = random.Random(seed)
    return " ".join(chosen.choice(WORDS) for _ in range(count))


def edited(text: str, edits: int, seed: int) -> str:
    words, chosen = text.split(), random.Random(seed)
    for _ in range(edits):
        words[chosen.randrange(len(words))] = chosen.choice(WORDS)
    return " ".join(words)


def plain_jaccard(a: str, b: str) -> float:
    def grams(text: str) -> set[tuple[str, ...]]:
        found = tokens(text)
        return {tuple(found[i : i + NGRAM]) for i in range(len(found) - NGRAM + 1)}

    left, right = grams(a), grams(b)
    return len(left & right) / len(left | right)


def test_spacing_makes_no_difference_and_the_question_does() -> None:
    found = find_duplicates(
        [
            Candidate("a", "q", "it is\n five"),
            Candidate("b", "q", "it is five"),
            Candidate("c", "other", "it is five"),
        ],
        None,
    )
    assert found == {"b": Duplicate("a", 1.0, exact=True)}


def test_the_best_of_a_cluster_stays_right_first_then_shorter() -> None:
    text = prose(1)
    cluster = [
        Candidate("short", "q", text),
        Candidate("right", "q", text + " " + prose(2, 3), right=True),
        Candidate("right_longer", "q", text + " " + prose(2, 6), right=True),
    ]
    found = find_duplicates(cluster, 0.8)
    assert set(found) == {"short", "right_longer"}
    assert {copy.of for copy in found.values()} == {"right"}


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_what_stays_is_pairwise_below_the_threshold_and_what_goes_is_not(threshold: float) -> None:
    texts = {f"{i:02}-{j}": edited(prose(i), j, 7 * j) for i in range(12) for j in range(8)}
    found = find_duplicates([Candidate(k, "q", t) for k, t in texts.items()], threshold)
    kept = [key for key in texts if key not in found]
    for key, copy in found.items():
        assert copy.of in kept
        assert plain_jaccard(texts[key], texts[copy.of]) == pytest.approx(copy.similarity, abs=6e-4)
        assert copy.similarity >= threshold
    for index, key in enumerate(kept):
        for other in kept[:index]:
            assert plain_jaccard(texts[key], texts[other]) < threshold
    assert found


def test_the_order_of_the_traces_makes_no_difference() -> None:
    candidates = [
        Candidate(f"{i}-{j}", "q", edited(prose(i), j, j)) for i in range(6) for j in range(6)
    ]
    forwards = find_duplicates(candidates, 0.8)
    assert find_duplicates(candidates[::-1], 0.8) == forwards


def test_maths_traces_that_differ_only_in_numbers_are_no_duplicates() -> None:
    def solution(a: int, b: int) -> str:
        return f"{prose(3)} we add {a} and {b} and get {a + b} which is the answer {prose(4)}"

    traces = [Candidate(f"{a}", "q", solution(a, 100 - a)) for a in range(1, 40)]
    assert plain_jaccard(traces[0].text, traces[1].text) > 0.8
    assert find_duplicates(traces, 0.8) == {}
    copied = [*traces, Candidate("copy", "q", solution(7, 93) + " indeed")]
    assert find_duplicates(copied, 0.8)["copy"].of == "7"


def test_different_solutions_of_one_question_are_left_alone() -> None:
    traces = [Candidate(str(seed), "q", prose(seed)) for seed in range(16)]
    assert find_duplicates(traces, 0.8) == {}


def test_one_short_answer_to_different_questions_is_no_duplicate() -> None:
    traces = [Candidate(str(i), prose(i, 30), "The answer is B.") for i in range(20)]
    assert find_duplicates(traces, 0.8) == {}
    again = [*traces, Candidate("copy", prose(3, 30) + " please", "The answer is B.")]
    assert find_duplicates(again, 0.8)["copy"].of == "3"


def test_other_short_answers_to_one_long_question_are_no_duplicates() -> None:
    question = prose(1, 200)
    traces = [Candidate(x, question, f"The answer is {x}.") for x in "ABCD"]
    assert find_duplicates(traces, 0.8) == {}


def test_a_long_trace_is_a_copy_under_any_question() -> None:
    traces = [Candidate("a", prose(1, 20), prose(9)), Candidate("b", prose(2, 20), prose(9))]
    assert find_duplicates(traces, 0.8)["b"].of == "a"


def test_empty_input_is_no_trouble() -> None:
    assert find_duplicates([], 0.8) == {}
