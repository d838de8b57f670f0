from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from traces.curate.annotate import Item, annotate
from traces.curate.decide import RULES, curate, decide
from traces.curate.funnel import Funnel, check_funnel, count_funnel
from traces.curate.select import Selection
from traces.errors import CountError
from traces.record import Decision, Message, Outcome, Prompt, Sampling, Status, Trace, Verdict

OPTIONS: dict[str, Any] = {
    "policy": "prefer_right",
    "wrong_steps": "drop",
    "keep_truncated": False,
    "require_reasoning": False,
    "phrases": ("refusal", "identity", "cutoff"),
    "min_tokens": 1,
    "max_tokens": None,
    "loop_tail_chars": 400,
    "loop_ngram_share": 0.2,
    "loop_masked_share": None,
    "max_compression": None,
    "foreign_script": 0.05,
    "near_duplicate": 0.8,
    "overlap_ngram": 8,
    "overlap_coverage": 0.5,
    "per_prompt": 16,
}


def item(
    key: str,
    prompt: str = "p",
    *,
    status: Status = "ok",
    answer: str | None = None,
    verdict: Outcome | None = None,
    steps: Outcome | None = None,
    reason: str = "",
) -> Item:
    asked = Prompt(prompt, (Message("user", f"question {prompt}"),))
    text = f"trace {key} says {key}" if answer is None else answer
    trace = Trace(
        *(key, prompt, 0, 0, status, "t", Sampling()),
        reasoning="because",
        answer=None if answer == "-" else text,
    )
    verdicts = []
    if verdict:
        verdicts.append(Verdict(key, "answer", "math@1", verdict, reason=reason))
    if steps:
        verdicts.append(Verdict(key, "steps", "steps:x@1", steps, reason="step 2: 3 > 4"))
    return Item(asked, trace, verdicts)


def outcome(items: list[Item], **options: Any) -> dict[str, str]:
    decisions = curate(items, **{**OPTIONS, **options})
    return {decision.key: "" if decision.kept else decision.rule for decision in decisions}


def test_a_wrong_trace_goes_only_where_its_question_has_a_right_one() -> None:
    items = [
        item("a1", "a", verdict="right"),
        item("a2", "a", verdict="wrong"),
        item("a3", "a", verdict="unknown"),
        item("b1", "b", verdict="wrong"),
    ]
    assert outcome(items) == {"a1": "", "a2": "wrong_answer", "a3": "", "b1": ""}
    strict = {"a1": "", "a2": "wrong_answer", "a3": "unverified", "b1": "wrong_answer"}
    assert outcome(items, policy="strict") == strict
    assert set(outcome(items, policy="keep").values()) == {""}


def test_a_right_trace_that_another_rule_takes_does_not_count_as_right() -> None:
    items = [item("a1", "a", verdict="right", steps="wrong"), item("a2", "a", verdict="wrong")]
    assert outcome(items) == {"a1": "wrong_steps", "a2": ""}
    assert outcome(items, wrong_steps="keep") == {"a1": "", "a2": "wrong_answer"}
    items = [item("a1", "a", verdict="right", status="truncated"), item("a2", "a", verdict="wrong")]
    assert outcome(items) == {"a1": "truncated", "a2": ""}


def test_a_text_without_any_answer_counts_as_wrong() -> None:
    items = [item("a", verdict="right"), item("b", verdict="unknown", reason="no answer")]
    assert outcome(items) == {"a": "", "b": "wrong_answer"}


def test_of_two_verdicts_the_later_holds() -> None:
    first = item("a", verdict="wrong", steps="right")
    again = Verdict("a", "answer", "math@2", "right")
    assert outcome([first._replace(verdicts=[*first.verdicts, again])], policy="strict") == {
        "a": ""
    }


def test_failures_are_decided_too() -> None:
    items = [
        item("a", status="http_error", answer=""),
        item("b", status="truncated", answer="-"),
        item("c", answer="-"),
        item("d", answer=" "),
        item("e", answer="yes " * 500),
    ]
    want = {"a": "status", "b": "truncated", "c": "unclosed_thinking", "d": "empty"}
    assert outcome(items) == {**want, "e": "loop_tail"}
    assert outcome(items[1:2], keep_truncated=True) == {"b": ""}


def test_scores_that_are_given_choose_the_lowest_and_traces_without_one_last() -> None:
    items = [item(f"k{n}", f"p{n}", answer=f"say {n}") for n in range(4)]
    given = {"k0": 0.5, "k2": -3.0, "k3": 7.0}
    for tokens, kept in ((3, "k2"), (6, "k2 k0"), (9, "k2 k0 k3"), (None, "k2 k0 k3 k1")):
        chosen = Selection(tokens, "suited", {}, given)
        found = outcome(items, selection=chosen)
        assert {key for key, rule in found.items() if not rule} == set(kept.split())


def test_phrases_of_a_model_are_dropped_by_their_rule_and_only_if_asked() -> None:
    items = [
        item("a", answer="I'm sorry, but I can't help with that."),
        item("b", answer="I am ChatGPT. It is 4."),
        item("c", answer="My knowledge cutoff is 2021, so 4."),
        item("d", answer="I cannot find such an x."),
    ]
    want = {"a": "refusal", "b": "identity", "c": "cutoff", "d": ""}
    assert outcome(items) == want
    assert outcome(items, phrases=["cutoff"]) == {**want, "a": "", "b": ""}
    assert set(outcome(items, phrases=[]).values()) == {""}


def test_null_switches_a_rule_off() -> None:
    looping = [item("e", answer="yes " * 500)]
    assert outcome(looping, loop_tail_chars=None) == {"e": "loop_ngrams"}
    assert outcome(looping, loop_tail_chars=None, loop_ngram_share=None) == {"e": ""}
    many = [item(f"k{i}", answer=f"answer number {i}") for i in range(20)]
    assert list(outcome(many, per_prompt=None).values()).count("") == 20


def test_the_cap_keeps_right_traces_first_spread_over_the_lengths() -> None:
    items = [
        item(f"k{i}", answer=f"{i} " + "word " * i, verdict="right" if i % 2 else "unknown")
        for i in range(10)
    ]
    options = {"loop_ngram_share": None, "near_duplicate": None}
    kept = [key for key, rule in outcome(items, per_prompt=3, **options).items() if not rule]
    assert kept[0] == "k1"
    assert kept[1] in ("k3", "k5")
    assert kept[2] in ("k7", "k9")
    kept = [key for key, rule in outcome(items, per_prompt=6, **options).items() if not rule]
    assert {"k1", "k3", "k5", "k7", "k9"} < set(kept)


def test_the_cap_prefers_what_is_unlike_what_stays() -> None:
    alike = [f"first we take the sum and then see that it is {word}" for word in ("ab", "cd", "ef")]
    unlike = "no other way leads there than counting all of them one by one xy"
    items = [item(f"k{i}", answer=text) for i, text in enumerate([*alike, unlike])]
    kept = [
        key for key, rule in outcome(items, per_prompt=2, near_duplicate=None).items() if not rule
    ]
    assert "k3" in kept


def kept_of(items: list[Item], selection: Selection) -> list[str]:
    decisions = curate(items, **OPTIONS, selection=selection)
    assert {d.rule for d in decisions if not d.kept} <= {"budget", "mix"}
    return [decision.key for decision in decisions if decision.kept]


def sized(key: str, words: int, domain: str = "", verdict: Outcome | None = None) -> Item:
    text = " ".join(f"{key}{n}" for n in range(words - 1))  # with "because", `words` tokens
    one = item(key, f"p{key[0]}", answer=text, verdict=verdict)
    return one._replace(prompt=Prompt(f"p{key[0]}", one.prompt.messages, domain=domain))


def test_a_budget_takes_the_best_by_the_score_that_was_asked_for() -> None:
    items = [sized("a1", 10), sized("b1", 20), sized("c1", 30), sized("d1", 40)]
    assert kept_of(items, Selection(60, "short", {})) == ["a1", "b1", "c1"]
    assert kept_of(items, Selection(70, "long", {})) == ["c1", "d1"]
    assert kept_of(items, Selection(None, "long", {})) == ["a1", "b1", "c1", "d1"]
    drawn = kept_of(items, Selection(50, "random", {}))
    assert 1 <= len(drawn) <= 2
    assert set(kept_of(items[::-1], Selection(50, "random", {}))) == set(drawn)


def test_hard_questions_are_those_that_the_teacher_fails() -> None:
    items = [sized(f"a{n}", 10, verdict="right") for n in range(2)]
    items += [sized("b0", 10, verdict="right"), sized("b1", 10, verdict="wrong")]
    options = {**OPTIONS, "policy": "keep"}
    hard = curate(items, **options, selection=Selection(20, "hard", {}))
    assert [d.key for d in hard if d.kept] == ["b0", "b1"]
    easy = curate(items, **options, selection=Selection(20, "easy", {}))
    assert [d.key for d in easy if d.kept] == ["a0", "a1"]


def test_few_doubts_come_first_where_asked() -> None:
    doubting = item("a", "a", answer="wait maybe it is five wait no perhaps it is six then")
    steady = item("b", "b", answer="it is five since two and three are five in all as said")
    assert kept_of([doubting, steady], Selection(14, "steady", {})) == ["b"]


def test_a_mix_holds_its_shares_and_leaves_out_what_it_does_not_name() -> None:
    items = [sized(f"{name}{n}", 10, name) for name in "abc" for n in range(6)]
    kept = kept_of(items, Selection(None, "random", {"a": 0.75, "b": 0.25}))
    assert [sum(key[0] == name for key in kept) for name in "abc"] == [6, 2, 0]


def test_foreign_letters_take_a_trace_unless_its_question_has_them() -> None:
    text = "we see \u6211\u4eec\u7b97\u51fa"
    one = item("a", answer=text)
    assert outcome([one]) == {"a": "foreign_script"}
    asked = one._replace(prompt=Prompt("p", (Message("user", "\u95ee\u9898"),)))
    assert outcome([asked]) == {"a": ""}
    assert outcome([one], foreign_script=None) == {"a": ""}


def test_other_thresholds_decide_from_the_ledger_what_a_fresh_run_decides() -> None:
    base = [" ".join(f"w{i * k % 97}x" for i in range(60)) for k in (5, 7, 11)]
    items = [
        item(f"{k}-{n}", f"p{n % 3}", answer=f"{text} {'tail ' * n}", verdict=verdict)
        for k, text in enumerate(base)
        for n, verdict in enumerate(("wrong", "right", "unknown", "right", "wrong"))
    ]
    by_key = {one.trace.key: one for one in items}
    ledger = annotate(items, overlap_ngram=8, floor=0.7, item_of=by_key.__getitem__)
    rules = {k: v for k, v in OPTIONS.items() if k != "overlap_ngram"}
    for changed in ({"near_duplicate": 0.95}, {"policy": "strict"}, {"min_tokens": 63}):
        options = {**rules, **changed}
        fresh = curate(items, overlap_ngram=8, **options)
        assert decide(ledger, item_of=by_key.__getitem__, **options) == fresh
    assert len({d.rule for d in fresh}) > 2


def test_decisions_say_what_was_measured_and_against_what() -> None:
    items = [item("a", answer="the same"), item("b", answer="the same"), item("c", steps="wrong")]
    found = {decision.key: decision for decision in curate(items, **OPTIONS)}
    assert found["b"] == Decision("b", "p", False, "exact_duplicate", "1.000 of a", 1.0)
    assert found["c"].value == "step 2: 3 > 4"


def test_an_evaluation_question_takes_all_its_traces() -> None:
    question = "How many metres does the lift rise in the 40 seconds after it leaves floor 3?"
    train = Prompt("p", (Message("user", question),))
    test = Prompt("e", (Message("user", question + " "),), source="test.jsonl:4")
    items = [item(key)._replace(prompt=train) for key in ("a", "b")]
    decisions = curate(items, **OPTIONS, evaluation_prompts=[test])
    assert [decision.rule for decision in decisions] == ["overlap", "overlap"]
    assert decisions[0].value == "1 of test.jsonl:4"
    assert outcome(items) == {"a": "", "b": ""}


def test_a_number_variant_is_kept_with_a_label() -> None:
    question = (
        "A farmer sells {} crates of plums for 7 dollars each and pays 9 dollars for the cart"
    )
    one = item("a")._replace(prompt=Prompt("p", (Message("user", question.format(12)),)))
    test = Prompt("e", (Message("user", question.format(15)),), source="test.jsonl:4")
    (decision,) = curate([one], **OPTIONS, evaluation_prompts=[test])
    assert decision.kept
    assert decision.value == "other numbers than test.jsonl:4, else 1 alike"


def test_two_traces_of_one_key_stop_the_run() -> None:
    with pytest.raises(CountError):
        curate([item("a"), item("a")], **OPTIONS)


STATUSES: tuple[Status, ...] = ("ok", "ok", "ok", "truncated", "timeout")
ITEMS = st.lists(
    st.builds(
        item,
        st.uuids().map(str),
        st.sampled_from("abc"),
        status=st.sampled_from(STATUSES),
        answer=st.sampled_from([None, "-", " ", "5", "six", "no " * 300, "it is 5 or 6"]),
        verdict=st.sampled_from([None, "right", "wrong", "unknown"]),
        steps=st.sampled_from([None, "right", "wrong"]),
    ),
    max_size=25,
    unique_by=lambda one: one.trace.key,
)


@settings(max_examples=60, deadline=None)
@given(ITEMS, st.sampled_from(["prefer_right", "strict", "keep"]), st.sampled_from([None, 1, 2]))
def test_every_trace_gets_one_decision_and_the_funnel_adds_up(
    items: list[Item], policy: str, per_prompt: int | None
) -> None:
    options = {**OPTIONS, "policy": policy, "per_prompt": per_prompt}
    decisions = curate(items, **options)
    keys = [one.trace.key for one in items]
    assert [decision.key for decision in decisions] == keys
    assert {decision.rule for decision in decisions} <= {"kept", *RULES}
    funnel = count_funnel(decisions)
    check_funnel(funnel, decisions, keys)
    assert funnel.harvested == len(items) == funnel.kept + sum(n for _, n in funnel.dropped)
    again = curate(items[::-1], **options)
    assert sorted(again, key=lambda d: d.key) == sorted(decisions, key=lambda d: d.key)


DECISIONS = [Decision("a", "p", True), Decision("b", "p", False, "empty", 0.0, 1.0)]


@pytest.mark.parametrize(
    ("funnel", "decisions", "keys"),
    [
        (Funnel(2, (("empty", 1),), 1), DECISIONS, ["a"]),
        (Funnel(2, (("empty", 1),), 1), DECISIONS, ["a", "c"]),
        (Funnel(2, (("empty", 1),), 1), DECISIONS, ["a", "b", "b"]),
        (Funnel(2, (("empty", 1),), 1), [*DECISIONS, DECISIONS[0]], ["a", "b"]),
        (Funnel(3, (("empty", 1),), 2), DECISIONS, ["a", "b"]),
        (Funnel(2, (("empty", 2),), 1), DECISIONS, ["a", "b"]),
        (Funnel(2, (("overlap", 1),), 1), DECISIONS, ["a", "b"]),
        (Funnel(2, (), 2), DECISIONS, ["a", "b"]),
    ],
)
def test_a_funnel_that_does_not_add_up_stops_the_run(
    funnel: Funnel, decisions: list[Decision], keys: list[str]
) -> None:
    check_funnel(Funnel(2, (("empty", 1),), 1), DECISIONS, ["b", "a"])
    with pytest.raises(CountError):
        check_funnel(funnel, decisions, keys)
