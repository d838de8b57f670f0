"""The student's scores of training rows, against plain torch over whole sequences."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distill.rows import Row, vocabulary_size
from distill.score_stage import Cache, score_each
from distill.student_scores import RANK_CLIP, WINDOW, Steps, Student, row_hash, windows
from traces.errors import Interrupted
from traces.teachers.local import LocalTeacher

PROMPT = list(range(10, 17))


@pytest.fixture(scope="module")
def teacher(tiny_model: Path) -> LocalTeacher:
    torch.set_num_threads(1)
    return LocalTeacher(str(tiny_model))


@pytest.fixture(scope="module")
def student(teacher: LocalTeacher) -> Student:
    return Student(teacher, vocabulary_size(teacher.tokenizer))


def row(key: str, ids: list[int]) -> Row:
    return Row(key, "p", [*PROMPT, *ids], [0.0] * len(PROMPT) + [1.0] * len(ids))


def written(teacher: LocalTeacher, key: str, text: str) -> Row:
    return row(key, teacher.tokenizer(text, add_special_tokens=False)["input_ids"])


def logits(teacher: LocalTeacher, ids: list[int]) -> torch.Tensor:
    """Over the tokens there are, without the padding of the head."""
    with torch.no_grad():
        found = teacher.loaded()(torch.tensor([ids])).logits[0].double()
    assert isinstance(found, torch.Tensor)
    return found[:, : vocabulary_size(teacher.tokenizer)]


def test_scores_are_those_of_the_whole_logits(student: Student, teacher: LocalTeacher) -> None:
    rows = [written(teacher, "a", "12 is less than 47."), written(teacher, "b", "No. It is 3.")]
    for each, got in zip(rows, student.score(rows), strict=True):
        span = torch.tensor(each.input_ids[len(PROMPT) :])
        u = logits(teacher, each.input_ids)[len(PROMPT) - 1 : -1]
        nll = -torch.log_softmax(u, -1).gather(1, span[:, None]).mean()
        order = u.argsort(dim=1, descending=True)
        ranks = ((order == span[:, None]).int().argmax(1) + 1).clamp_max(RANK_CLIP)
        assert ranks.max() == RANK_CLIP  # some are clipped
        assert ranks.min() < RANK_CLIP
        assert got.tokens == len(span)
        assert got.nll == pytest.approx(float(nll), abs=1e-5)
        assert got.rank == pytest.approx(float(ranks.double().mean()), abs=1e-6)
        assert got.rsr == pytest.approx(float(ranks.sum() / (len(span) * nll)), rel=1e-5)
        assert got.natural is None


def test_local_naturalness_sees_the_question_and_four_steps_and_weighs_steps_equally(
    student: Student, teacher: LocalTeacher
) -> None:
    steps = [f"The user is number {n}. " + "12 and " * n + "so on.\n" for n in range(7)]
    parts = [teacher.tokenizer(step, add_special_tokens=False)["input_ids"] for step in steps]
    # Each step has two sentences, so the window of four is the two steps before.
    whole = row("a", [token for part in parts for token in part])
    (got,) = student.score([whole], natural=["a"])
    ends = Steps(teacher.tokenizer.decode).ends(whole.input_ids[len(PROMPT) :])
    assert len(ends) == 14
    means = []
    for number, end in enumerate(ends):
        begin = ends[number - 1] if number else 0
        first = ends[number - 5] if number > 4 else 0
        span = whole.input_ids[len(PROMPT) + begin : len(PROMPT) + end]
        ids = [*PROMPT, *whole.input_ids[len(PROMPT) + first : len(PROMPT) + end]]
        u = logits(teacher, ids)[-len(span) - 1 : -1]
        means.append(torch.log_softmax(u, -1).gather(1, torch.tensor(span)[:, None]).mean())
    assert got.natural == pytest.approx(float(torch.stack(means).mean()), abs=1e-5)
    assert got.natural != pytest.approx(-got.nll, abs=1e-3)


def test_steps_are_sentences_and_lines_and_cover_every_token(teacher: LocalTeacher) -> None:
    text = "So x is 3.14 or so. Is it? Yes it is!\n\n1. Then we stop. We do\nnow"
    ids = teacher.tokenizer(text, add_special_tokens=False)["input_ids"]
    ends = Steps(teacher.tokenizer.decode).ends(ids)
    pieces = [
        teacher.tokenizer.decode(ids[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)
    ]
    assert pieces == [
        "So x is 3.14 or so.",
        " Is it?",
        " Yes it is!\n\n",
        "1. Then we stop.",
        " We do\n",
        "now",
    ]
    assert Steps(teacher.tokenizer.decode).ends([]) == []


def test_windows_hold_each_trained_token_once(teacher: LocalTeacher) -> None:
    whole = written(teacher, "a", "One is here. Two is here. Three is here. Four. Five is. Six is.")
    found = list(windows(whole, Steps(teacher.tokenizer.decode).ends(whole.input_ids[7:])))
    scored = [
        token
        for each in found
        for token, weight in zip(each.input_ids, each.weights, strict=True)
        if weight
    ]
    assert scored == whole.input_ids[7:]
    steps = len(Steps(teacher.tokenizer.decode).ends(whole.input_ids[7:]))
    assert len(found) == steps - WINDOW == 2
    assert all(each.input_ids[:7] == PROMPT for each in found)


@pytest.mark.parametrize("count", range(1, 9))
def test_the_first_five_steps_share_a_row_and_later_ones_have_four_before_them(count: int) -> None:
    span = list(range(100, 100 + 3 * count))
    found = list(windows(row("a", span), range(3, 3 * count + 1, 3)))
    shown = [each.input_ids[len(PROMPT) :] for each in found]
    assert shown == [span[:15], *(span[n - 15 : n] for n in range(18, 3 * count + 1, 3))]
    assert [sum(each.weights) for each in found] == [min(15, len(span)), *[3] * (len(found) - 1)]


def test_scores_are_the_same_wherever_it_was_stopped(
    student: Student, teacher: LocalTeacher, tmp_path: Path
) -> None:
    rows = [written(teacher, f"k{n}", "12 and " * (60 + n)) for n in range(12)]
    whole = Cache(tmp_path / "whole.jsonl", student.name)
    want = list(score_each(iter(rows), student, whole, False, lambda: False))
    assert [one.key for one in want] == [one.key for one in rows]
    path = tmp_path / "part.jsonl"
    first = Cache(path, student.name)
    with pytest.raises(Interrupted):
        list(score_each(iter(rows), student, first, False, lambda: first.made > 0))
    assert 0 < first.made < 12
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # killed while it wrote
    again = Cache(path, student.name)
    assert list(score_each(iter(rows), student, again, False, lambda: False)) == want
    assert again.made == 12 - len(lines) + 1
    later = Cache(path, student.name)
    assert list(score_each(iter(rows), student, later, False, lambda: True)) == want
    assert Cache(path, "another student").scores == {}


def test_a_score_without_naturalness_is_made_again_where_it_is_asked_for(
    student: Student, teacher: LocalTeacher, tmp_path: Path
) -> None:
    rows = [written(teacher, "a", "So it is. And so on."), written(teacher, "b", "No. It is 3.")]
    cache = Cache(tmp_path / "cache.jsonl", student.name)
    plain = list(score_each(iter(rows), student, cache, False, lambda: False))
    found = list(score_each(iter(rows), student, cache, True, lambda: False))
    assert [one.nll for one in found] == [one.nll for one in plain]
    assert all(one.natural is not None for one in found)
    assert cache.scores[row_hash(rows[0])] == found[0]
