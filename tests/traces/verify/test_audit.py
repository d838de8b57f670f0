"""A sample of verdicts, labelled by a person, gives precision and recall with intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from traces.errors import DataError
from traces.record import Outcome
from traces.verify.audit import Sampler, report
from traces.verify.check import Check


def sampled(seed: int = 0, size: int = 30) -> list[dict[str, Any]]:
    sampler = Sampler(size, seed)
    verdicts: list[tuple[Outcome, str, int]] = [
        ("right", "numeric", 500),
        ("right", "symbolic", 40),
        ("wrong", "numeric", 300),
        ("unknown", "guard", 2),
    ]
    number = 0
    for outcome, tier, many in verdicts:
        for _ in range(many):
            sampler.add(number, {"question": f"q{number}"}, Check(outcome, tier))
            number += 1
    return sampler.rows()


def labelled(path: Path, rows: list[dict[str, Any]], labels: list[Any]) -> Path:
    text = (json.dumps({**r, "label": x}) for r, x in zip(rows, labels, strict=True))
    path.write_text("\n".join(text))
    return path


def test_every_stratum_is_sampled_and_the_seed_decides_which() -> None:
    rows = sampled()
    strata = [(r["verdict"], r["tier"], r["stands_for"]) for r in rows]
    assert len(rows) == 30
    assert {s: strata.count(s) for s in strata} == {
        ("right", "numeric", 500): 10,
        ("right", "symbolic", 40): 9,
        ("wrong", "numeric", 300): 9,
        ("unknown", "guard", 2): 2,
    }
    assert [r["row"] for r in rows] == sorted({r["row"] for r in rows})
    assert sampled() == rows
    assert sampled(seed=1) != rows


def test_each_verdict_weighs_what_it_stands_for(tmp_path: Path) -> None:
    rows = sampled()
    labels: list[Any] = [row["verdict"] for row in rows]
    of = {(r["verdict"], r["tier"]): i for i, r in enumerate(rows)}
    labels[of["right", "symbolic"]] = "wrong"  # 1 of 9 that stand for 40
    labels[of["unknown", "guard"]] = "right"
    labels = ["right" if label == "unknown" else label for label in labels]
    found = report(labelled(tmp_path / "a.jsonl", rows, labels))
    assert found.right_precision.value == pytest.approx((500 + 40 * 8 / 9) / 540)
    assert found.right_found.value == pytest.approx((500 + 40 * 8 / 9) / (502 + 40 * 8 / 9))
    assert found.wrong_found.value == pytest.approx(300 / (300 + 40 / 9))
    assert found.unknown_of_all.value == pytest.approx(2 / 842)
    assert found.wrong_precision.value == 1.0
    assert 0.6 < found.wrong_precision.low < 0.75  # Wilson for 9 of 9: 0.701
    assert found.right_precision.low < found.right_precision.value < found.right_precision.high


def test_doubtful_and_missing_labels_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = sampled()
    path = labelled(tmp_path / "a.jsonl", rows, ["unsure", None, *["right"] * 28])
    assert report(path)[:2] == (28, 2)
    assert report(labelled(path, rows[:1], ["right"])).wrong_found.value is None


def test_bad_labels_are_named_by_line(tmp_path: Path) -> None:
    rows = sampled()[:4]
    path = labelled(tmp_path / "a.jsonl", rows, ["right", "yes", 1, "wrong"])
    with pytest.raises(DataError, match=r"a.jsonl:2: label: 'yes' is none of right") as caught:
        report(path)
    assert "a.jsonl:3: label: 1" in caught.value.message
    with pytest.raises(DataError, match="no row is labelled"):
        report(labelled(path, rows, [None] * 4))
    path.write_text('{"label": "right", "verdict": "right", "tier": "x", "stands_for": true}')
    with pytest.raises(DataError, match="stands_for: True is no count"):
        report(path)
