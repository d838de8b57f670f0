"""Questions that ask the same: pairs by any encoder, decided on by a threshold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from traces.curate.annotate import Item, annotate
from traces.curate.decide import decide
from traces.curate.semantic import Alike, alike_questions, load_encoder
from traces.errors import DataError, UserError
from traces.record import Message, Prompt, Sampling, Trace, Verdict

SYNONYMS = {"what": "0", "which": "0", "total": "1", "sum": "1", "apples": "2", "pears": "3"}


def encode(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """Counts of words, of which synonyms are one."""
    found = np.zeros((len(texts), 8))
    for row, text in enumerate(texts):
        for word in text.lower().split():
            found[row, int(SYNONYMS.get(word, "4"))] += 1
    return found


def ask(key: str, question: str) -> Prompt:
    return Prompt(key, (Message("user", question),))


PROMPTS = [
    ask("a", "what is the total of 3 apples"),
    ask("b", "which is the sum of 3 apples"),
    ask("c", "what is the total of 4 apples"),
    ask("d", "what is the total of 3 pears pears pears"),
    ask("e", "  "),
]


def test_questions_in_other_words_are_pairs_and_with_other_numbers_never() -> None:
    pairs = alike_questions(PROMPTS, encode, floor=0.9)
    assert pairs == [Alike("a", "b", 1.0)]
    assert alike_questions(PROMPTS[::-1], encode, floor=0.9) == pairs
    lower = alike_questions(PROMPTS, encode, floor=0.3)
    assert {(pair.one, pair.other) for pair in lower} == {("a", "b"), ("a", "d"), ("b", "d")}
    (apart,) = {pair.similarity for pair in lower if pair.other == "d"}
    one, other = encode([m.content for p in (PROMPTS[0], PROMPTS[3]) for m in p.messages])
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    assert apart == pytest.approx(cosine, abs=6e-5)


OPTIONS: dict[str, Any] = {
    **dict.fromkeys(
        ["max_tokens", "foreign_script", "loop_tail_chars", "loop_ngram_share", "per_prompt"]
    ),
    **dict.fromkeys(["loop_masked_share", "max_compression", "overlap_coverage", "near_duplicate"]),
    **dict.fromkeys(["keep_truncated", "require_reasoning"], False),
    **{"policy": "strict", "wrong_steps": "keep", "min_tokens": 0, "phrases": ()},
}


def rules(right: str, threshold: float, pairs: list[Alike]) -> dict[str, tuple[str, object]]:
    items = {}
    for prompt in PROMPTS[:4]:
        for number in range(2):
            key = f"{prompt.id}{number}"
            trace = Trace(key, prompt.id, number, 0, "ok", "t", Sampling(), answer=f"it is {key}")
            verdict = Verdict(key, "answer", "x@1", "right" if key in right else "wrong")
            items[key] = Item(prompt, trace, [verdict])
    ledger = annotate(items.values(), overlap_ngram=None, floor=None, item_of=items.__getitem__)
    found = decide(ledger, item_of=items.__getitem__, alike=pairs, alike_from=threshold, **OPTIONS)
    return {d.key: (d.rule, d.value) for d in found if d.rule != "wrong_answer"}


def test_the_question_with_more_right_traces_stays_and_the_decision_says_why() -> None:
    pairs = [Alike("a", "b", 0.97), Alike("b", "d", 0.85)]
    kept = ("kept", None)
    found = rules("a0 b0 b1 d0", 0.95, pairs)
    assert {key: rule for key, (rule, _) in found.items()} == {
        "a0": "semantic_duplicate", "b0": "kept", "b1": "kept", "d0": "kept"
    }  # fmt: skip
    assert found["a0"][1] == "0.9700 of b"
    assert found["b0"] == kept
    lower = rules("a0 b0 b1 d0", 0.8, pairs)
    assert [key for key, (rule, _) in lower.items() if rule == "kept"] == ["b0", "b1"]


def test_a_question_whose_traces_are_gone_takes_none_with_it() -> None:
    assert rules("b0", 0.9, [Alike("a", "b", 0.97)]) == {"b0": ("kept", None)}


def test_a_chain_is_cut_where_the_middle_goes() -> None:
    found = rules("a0 a1 b0 d0", 0.9, [Alike("a", "b", 0.95), Alike("b", "d", 0.95)])
    assert [key for key, (rule, _) in found.items() if rule == "kept"] == ["a0", "a1", "d0"]


def test_an_encoder_is_found_by_its_path_and_must_give_a_vector_for_each_text() -> None:
    assert load_encoder("numpy:asarray") is np.asarray
    for name in ("numpy:nothing", ":asarray", ".numpy:asarray", "no.such.module:encode"):
        with pytest.raises(UserError, match=f"cannot load the encoder '{name}'"):
            load_encoder(name)
    with pytest.raises(UserError, match="'os:path' is no function but module"):
        load_encoder("os:path")
    with pytest.raises(DataError, match="shape \\(1, 2\\) from 3 questions"):
        alike_questions(PROMPTS, lambda texts: np.ones((1, 2)))
