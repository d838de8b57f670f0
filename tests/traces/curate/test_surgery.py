from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.curate.secrets import personal, secrets
from traces.curate.surgery import RULES, apply, edit, undo
from traces.record import Sampling, Trace
from traces.split import split

KEY = "sk-" + "proj-" + "a1B2" * 8
MAIL = "jane.doe" + "@" + "mail.nowhere.io"


def trace(content: str, raw: str | None = None) -> Trace:
    parts = split(content, raw)
    return Trace(
        *("k", "p", 0, 0, "ok", "t", Sampling(), content, raw, parts.reasoning, parts.answer),
        token_ids=(1, 2, 3),
    )


@pytest.mark.parametrize(
    "text",
    [
        f"use {KEY} here",
        "AK" + "IA" + "Q" * 16,
        "gh" + "p_" + "x1" * 18,
        "-----BEGIN RSA PRIVATE" + " KEY-----\nabc\n-----END RSA PRIVATE" + " KEY-----",
    ],
)
def test_secrets_are_found(text: str) -> None:
    assert [mask for _, _, mask in secrets(text)] == ["[SECRET]"]


def test_addresses_and_numbers_of_persons_are_found_and_those_of_nobody_are_not() -> None:
    assert [mask for *_, mask in personal(f"ask {MAIL}.")] == ["[EMAIL]"]
    assert [mask for *_, mask in personal("call +49 170 123 4567 now")] == ["[PHONE]"]
    assert not list(personal("user@example.com or a@b.test, A@B matrix product"))


@pytest.mark.parametrize(
    "text",
    [
        "5 +49 170 123 4567 = 9",
        "x = +12.50 and +3 000 000",
        "(a+b)^2 = a^2 + 2ab + b^2",
        "1 + 22 333 444 555",
        "sk-learn and hf_model, AKIA",
        "the sum +10 200 300 400 + 5",
    ],
)
def test_mathematics_and_code_hold_no_secrets(text: str) -> None:
    assert not [*secrets(text), *personal(text)]


def test_an_edited_trace_is_a_new_record_that_keeps_its_markers() -> None:
    one = trace(
        f"<think>\nfirst mail {MAIL}\n</think>\n\nSure! It is \\boxed{{5}}. I hope this helps!"
    )
    edited, edits = edit(one, ["personal", "boilerplate"])
    assert edited.content == "<think>\nfirst mail [EMAIL]\n</think>\n\nIt is \\boxed{5}."
    assert (edited.token_ids, edited.flags) == (None, ("edited",))
    assert [(e.part, e.rule) for e in edits] == [
        ("reasoning", "personal"), ("answer", "boilerplate"), ("answer", "boilerplate")
    ]  # fmt: skip
    for name, text in (("reasoning", one.reasoning), ("answer", one.answer)):
        assert undo(getattr(edited, name), [e for e in edits if e.part == name]) == text


def test_a_reasoning_field_of_its_own_is_edited_too() -> None:
    edited, _ = edit(trace("the answer", raw=f"key {KEY}"), ["secrets"])
    assert (edited.raw_reasoning, edited.content) == ("key [SECRET]", "the answer")


def test_a_trace_without_faults_is_left_as_it_is() -> None:
    one = trace("<think>\nso\n</think>\n\nThe answer is 5.")
    assert edit(one, list(RULES)) == (one, [])


@pytest.mark.parametrize(
    ("rule", "before", "after"),
    [
        (
            "after_answer",
            "so \\boxed{\\frac{1}{2}}. Let us check it again.",
            "so \\boxed{\\frac{1}{2}}.",
        ),
        ("after_answer", "so \\boxed{5}$.", "so \\boxed{5}$."),
        ("after_answer", "so \\boxed{5 and on", "so \\boxed{5 and on"),
        ("loops", "we start. " + "wait, no. " * 60, "we start. wait, no"),
        ("identity", "Well. As an AI language model, I count. It is 5.", "Well. It is 5."),
        ("boilerplate", "Certainly! Here: 5", "Here: 5"),
    ],
)
def test_each_rule_cuts_what_it_names(rule: str, before: str, after: str) -> None:
    edited, edits = edit(trace(before), [rule])
    assert edited.answer == after
    assert all(one.rule == rule for one in edits)


PIECES = st.sampled_from([KEY, MAIL, " ", "\n", "Sure! ", "\\boxed{1}", "x ", ". ", "loop " * 90])


@given(st.lists(PIECES, max_size=8).map("".join), st.lists(st.sampled_from(sorted(RULES))))
def test_every_edit_can_be_undone(text: str, rules: list[str]) -> None:
    one = trace("a").__class__("k", "p", 0, 0, "ok", "t", Sampling(), text, None, None, text)
    edited, edits = edit(one, list(dict.fromkeys(rules)))
    assert edited.answer is not None
    assert undo(edited.answer, edits) == text
    assert apply(text, edits) == edited.answer
