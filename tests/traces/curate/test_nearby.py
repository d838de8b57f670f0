from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from traces.curate import nearby
from traces.curate.nearby import copies
from traces.curate.rows import DedupRow, dedup_rows
from traces.curate.scan import read_tokens, similarity, sketch
from traces.jsonio import Faults


def prose(seed: int, count: int = 150) -> str:
    chosen = random.Random(seed)
    return " ".join(f"word{chosen.randrange(400)}" for _ in range(count))


def edited(text: str, edits: int, seed: int) -> str:
    words, chosen = text.split(), random.Random(seed)
    for _ in range(edits):
        words[chosen.randrange(len(words))] = f"other{chosen.randrange(400)}"
    return " ".join(words)


@pytest.mark.parametrize(("count", "edits"), [(20, 1), (150, 5), (1500, 40)])
def test_a_sketch_estimates_the_exact_similarity(count: int, edits: int) -> None:
    gaps = []
    for seed in range(30):
        text = prose(seed, count)
        other = edited(text, edits, seed + 1)
        exact = similarity(read_tokens(text), read_tokens(other))
        gaps.append(float((sketch(text)[1] == sketch(other)[1]).mean()) - exact)
    assert abs(float(np.mean(gaps))) < 0.03
    assert float(np.max(np.abs(gaps))) < 0.16


def dedup(path: Path, threshold: float) -> list[DedupRow]:
    return list(dedup_rows(path, field="text", threshold=threshold, faults=Faults()))


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8])
def test_every_removal_is_exact_and_what_stays_is_apart(tmp_path: Path, threshold: float) -> None:
    texts = [edited(prose(i), j, 9 * i + j) for i in range(20) for j in range(6)]
    texts += [f"{prose(77)} we add {n} and {n + 1} {prose(78)}" for n in range(20)]
    texts += ["I cannot help with that. " + prose(5, 60)] * 40
    random.Random(1).shuffle(texts)
    path = tmp_path / "a.jsonl"
    path.write_text("\n\n".join(json.dumps({"text": text}) for text in texts))
    found = dedup(path, threshold)
    assert [row.row for row in found] == list(range(len(texts)))
    variants = [n for n, text in enumerate(texts) if " we add " in text]
    assert all(found[n].kept for n in variants)
    grams = [read_tokens(text) for text in texts]
    for row in found:
        assert row.jaccard == pytest.approx(similarity(grams[row.row], grams[row.cluster]))
        assert row.kept or row.jaccard >= threshold
        assert found[row.cluster].kept
    kept = [row.row for row in found if row.kept and row.row not in variants]
    for index, one in enumerate(kept):
        assert all(similarity(grams[one], grams[other]) < threshold for other in kept[:index])


def test_copies_but_for_white_space_are_one(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in ("it is\n five", "it is five")))
    assert [row[:3] for row in dedup(path, 0.8)] == [(0, 0, True), (1, 0, False)]


def test_rows_that_hold_no_text_are_named_by_line_and_the_others_compared(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        *(json.dumps({"text": prose(1)}), "", "[" * 100_000, "[1]", "5", '{"text": 7}', "{}"),
        *('{"text": "a', json.dumps({"text": prose(1)}), "\u2003", '{"text": ""}'),
    ]
    path.write_text("\n".join(lines))
    faults = Faults()
    found = list(dedup_rows(path, field="text", threshold=0.8, faults=faults))
    assert [row[:2] for row in found if not row.kept] == [(7, 0)]
    assert len(found) == 10
    assert faults.count == 7
    assert [named.split(":")[1] for named in faults.named] == ["3", "4", "5"]


@pytest.mark.parametrize("question", ["", "How much is it in all, of {0} and {1}?"])
def test_a_crowd_that_differs_in_numbers_alone_is_not_compared_pair_by_pair(
    question: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wording = "We take {0} and add {1} to it, so that in all there are {2} of them, and no more. "
    pairs = [(n, 7 * n) for n in range(1500)] + [(5, 35), (1499, 7 * 1499)]
    texts = [(wording + prose(1, 120)).format(a, b, a + b) for a, b in pairs]
    compared = 0

    def counting(*arguments: Any) -> float | None:
        nonlocal compared
        compared += 1
        return copies(*arguments)

    monkeypatch.setattr(nearby, "copies", counting)
    found = nearby.find_near(
        np.stack([sketch(text)[1] for text in texts]),
        range(len(texts)),
        lambda n: nearby.Text(texts[n], question.format(*pairs[n])),
        0.8,
    )
    assert found == {1500: (5, 1.0), 1501: (1499, 1.0)}
    assert compared <= (2 if question else 300 * len(texts))
