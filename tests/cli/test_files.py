"""The commands that work on any file of rows: verify, dedup, decontaminate."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from traces.verify import isolation

Distill = Callable[..., Any]


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def lines(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


def row(gold: str, response: str, kind: str = "math", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "question": "?", "gold": gold, "response": response, **more}


def prose(seed: int, count: int = 80) -> str:
    chosen = random.Random(seed)
    return " ".join(
        f"w{chosen.choice('abcdefgh')}{chosen.choice('stuvwxyz')}" for _ in range(count)
    )


def test_verify_prints_one_verdict_per_row_in_order(distill: Distill, tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.jsonl",
        [
            row("x+1", r"\boxed{1+x}"),
            row("72", "<think>\\boxed{5}</think>Answer: 72"),
            row("B", "Answer: C", "mcq", choices={"B": "two", "C": "three"}),
            row("Curie", "Answer: curie", "text"),
            row(r"\frac{1}{x", "Answer: 5"),
        ],
    )
    code, out, err = distill("verify", path)
    assert (code, err) == (0, "3 right, 1 wrong, 1 unknown\n")
    assert [r["verdict"] for r in lines(out)] == ["right", "right", "wrong", "right", "unknown"]
    assert lines(out)[1] == {
        "verdict": "right", "tier": "text", "reason": "", "extracted": "72"
    }  # fmt: skip


def test_broken_rows_are_unknown_named_by_line_and_disturb_nothing(
    distill: Distill, tmp_path: Path
) -> None:
    path = write(
        tmp_path / "a.jsonl",
        [
            "{broken",
            row("72", "Answer: 72"),
            row("72", "Answer: 72", "algebra"),
            {"kind": "math", "gold": "1"},
            row("72", "Answer: \x00\ud800 72"),
            row("72", "Answer: 72"),
        ],
    )
    code, out, err = distill("verify", path)
    found = lines(out)
    assert code == 2
    assert [r["verdict"] for r in found] == ["unknown", "right", *["unknown"] * 3, "right"]
    assert f"{path}:1: broken JSON" in found[0]["reason"]
    assert f"{path}:3: kind: 'algebra' is unknown; one of math" in err
    assert f"{path}:4: response: missing; the row has kind, gold" in err


def test_dedup_names_the_row_that_stays_and_the_exact_similarity(
    distill: Distill, tmp_path: Path
) -> None:
    texts = [prose(1), prose(2), prose(1) + " end", prose(1), prose(3)]
    path = write(tmp_path / "a.jsonl", [*({"text": t} for t in texts), {"other": 1}])
    code, out, err = distill("dedup", path, "--field", "text", "--threshold", "0.8")
    assert code == 2
    assert err.startswith("6 rows, 4 kept, 2 copies\n")
    assert f"{path}:6: text: missing" in err
    assert [(r["row"], r["cluster"], r["kept"]) for r in lines(out)] == [
        (0, 0, True), (1, 1, True), (2, 0, False), (3, 0, False), (4, 4, True), (5, 5, True)
    ]  # fmt: skip
    assert [r["jaccard"] for r in lines(out)[2:4]] == [0.987, 1.0]


def test_dedup_of_several_files_numbers_rows_on_and_goes_on_in_its_folder(
    distill: Distill, tmp_path: Path
) -> None:
    one = write(tmp_path / "1.jsonl", [{"text": prose(1)}, {"text": prose(2)}])
    two = write(tmp_path / "2.jsonl", [{"text": prose(1) + " end"}])
    first = distill("dedup", one, two, "--work", tmp_path / "work")
    assert (first.code, first.err) == (0, "3 rows, 2 kept, 1 copies\n")
    assert [(r["row"], r["cluster"]) for r in lines(first.out)] == [(0, 0), (1, 1), (2, 0)]
    assert distill("dedup", one, two, "--work", tmp_path / "work") == first
    refused = distill("dedup", one, "--work", tmp_path / "work")
    assert (refused.code, refused.out) == (2, "")
    assert "begun with other files" in refused.err


def test_a_rank_of_dedup_does_its_work_and_prints_no_rows(distill: Distill, tmp_path: Path) -> None:
    path = write(tmp_path / "1.jsonl", [{"text": prose(1)}, {"text": prose(1)}])
    share = ["dedup", path, "--work", tmp_path / "work", "--world", "1"]
    assert distill(*share, "--rank", "0").out == ""
    assert (tmp_path / "work/keep.jsonl").read_text().count("\n") == 2
    assert distill(*share, "--print-slurm").out.startswith("#!/bin/bash\n")


@pytest.mark.parametrize(
    "options",
    [
        ["--rank", "0"],
        ["--rank", "1", "--world", "1"],
        ["--world", "2"],
        ["--print-slurm"],
        ["--rank", "0", "--world", "1", "--workers", "2"],
        ["--rank", "0", "--world", "1", "--ray"],
        ["--print-slurm", "--world", "2", "--workers", "2"],
        ["--ray", "--workers", "2"],
    ],
)
def test_options_of_which_one_would_be_dropped_are_refused(
    distill: Distill, tmp_path: Path, options: list[str]
) -> None:
    path = write(tmp_path / "1.jsonl", [{"text": prose(1)}, {"text": prose(1)}])
    found = distill("dedup", path, "--work", tmp_path / "work", *options)
    assert (found.code, found.out) == (2, "")
    assert not (tmp_path / "work").exists()


def test_decontaminate_labels_what_it_finds_and_counts_per_file(
    distill: Distill, tmp_path: Path
) -> None:
    question = "A farmer has 17 sheep and buys 25 more at the market, how many has he then?"
    path = write(
        tmp_path / "a.jsonl",
        [
            {"question": question},
            {"question": f"Please solve. {question}"},
            {"question": question.replace("17", "19")},
            {"question": prose(5)},
        ],
    )
    tests = write(tmp_path / "eval.jsonl", [{"question": question}, {"question": prose(6)}])
    code, out, err = distill("decontaminate", path, "--against", tests)
    assert (code, err) == (0, f"4 rows, 3 dropped\n3 of {tests}\n")
    assert [(r["kept"], r["label"]) for r in lines(out)] == [
        (False, "same"), (False, "same"), (False, "masked"), (True, "")
    ]  # fmt: skip
    assert lines(out)[0]["match"] == f"{tests}:1"
    kept = lines(distill("decontaminate", path, "--against", tests, "--keep-masked").out)
    assert [r["kept"] for r in kept] == [False, False, True, True]


def test_a_broken_evaluation_row_stops_decontamination(distill: Distill, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": prose(5)}])
    tests = write(tmp_path / "eval.jsonl", [{"question": prose(6)}, {"x": 1}])
    code, out, err = distill("decontaminate", path, "--against", tests)
    assert (code, out) == (2, "")
    assert f"{tests}:2: question or problem or prompt or text: missing" in err


def test_an_evaluation_file_that_is_cut_off_clears_no_row(distill: Distill, tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": prose(1)}])
    lines = b"".join(b'{"question": "%s"}\n' % prose(n).encode() for n in range(300))
    (tmp_path / "eval.jsonl.gz").write_bytes(gzip.compress(lines)[:9000])
    code, out, err = distill("decontaminate", path, "--against", tmp_path / "eval.jsonl.gz")
    assert (code, out) == (2, "")
    assert "eval.jsonl.gz: cut off after line " in err


@pytest.mark.parametrize(
    "options",
    [
        ["verify", "--workers", "0"],
        ["verify", "--timeout", "0"],
        ["verify", "--audit", "s.jsonl", "--audit-size", "0"],
        ["decontaminate", "--against", "a.jsonl", "--ngram", "0"],
    ],
    ids=lambda options: options[-2],
)
def test_a_number_that_cannot_be_is_refused_in_one_line(
    distill: Distill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "a.jsonl", [row("72", "Answer: 72")])
    code, out, err = distill(*options, "a.jsonl")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: invalid value for '{options[-2]}': 0")
    assert not (tmp_path / "s.jsonl").exists()


def test_a_missing_file_is_one_line(distill: Distill, tmp_path: Path) -> None:
    for command in (["verify"], ["dedup"]):
        assert distill(*command, tmp_path / "no.jsonl").err.endswith("no.jsonl: no such file\n")


def test_verify_gives_every_hostile_row_a_line_and_disturbs_none(
    distill: Distill, tmp_path: Path
) -> None:
    program = json.dumps({"entry": "f", "tests": [[[2], 4]]})
    cases = [
        (row("5", "x" * 1_000_000 + " \\boxed{5}"), "right"),
        (row("5", "\\boxed{" * 140_000), "unknown"),
        (row("5", "<think>" * 140_000), "unknown"),
        (row("5", "\\boxed{" + "7" * 1_000_000 + "}"), "unknown"),
        (row("5", "\\boxed{5}\x00\ud800"), "right"),
        (row("5", "\\boxed{5}</think></think>"), "unknown"),
        (row("5", "<think>a</think>\\boxed{6}<think>\\boxed{5}"), "wrong"),
        (row("\\frac{1}{", "\\boxed{5}"), "unknown"),
        (row("{", "```python\nx\n```", "code"), "unknown"),
        (row(program, "none", "code"), "unknown"),
        (row("[]", "x", "legal"), "unknown"),
        (row("Z", "Answer: A", "mcq", choices={"A": "x"}), "unknown"),
        (row("A,B", "Answer: B and A", "mcq", choices={"A": "x", "B": "y"}), "right"),
        (row("5 m/s", "\\boxed{18 km/h}", "science"), "right"),
        (row('{"must_cite": ["42 U.S.C. 1983"]}', "42 U.S.C. § 1983", "legal"), "right"),
        (row("72", "Answer: 72"), "right"),
    ]
    path = write(tmp_path / "a.jsonl", [case for case, _ in cases])
    code, out, err = distill("verify", path)
    found = lines(out)
    assert (code, err.count("error")) == (0, 0)
    assert [r["verdict"] for r in found] == [verdict for _, verdict in cases]
    assert all(list(r) == ["verdict", "tier", "reason", "extracted"] for r in found)
    unjudged = [r["reason"] for r in found if r["verdict"] == "unknown"]
    assert all(unjudged)
    assert "reference does not parse" in unjudged


def test_the_tier_of_a_program_names_the_isolation_it_ran_in(
    distill: Distill, tmp_path: Path
) -> None:
    program = json.dumps({"entry": "f", "tests": [[[2], 4]]})
    answer = "```python\ndef f(x): return x * x\n```"
    code, out, _ = distill("verify", write(tmp_path / "a.jsonl", [row(program, answer, "code")]))
    rung = isolation.best()
    want = ("right", f"code/{rung}") if rung else ("unknown", "code")
    assert code == 0
    assert [(r["verdict"], r["tier"]) for r in lines(out)] == [want]


def test_verify_writes_a_sample_to_label_and_reports_on_it(
    distill: Distill, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", [row("72", f"Answer: {n}") for n in (71, 72, 72, 73)])
    code, _, err = distill("verify", path, "--audit", tmp_path / "s.jsonl", "--audit-size", 3)
    assert (code, err.splitlines()[-1]) == (0, f"3 verdicts to label: {tmp_path / 's.jsonl'}")
    sample = lines((tmp_path / "s.jsonl").read_text())
    assert [one["label"] for one in sample] == [None] * 3
    write(tmp_path / "s.jsonl", [{**one, "label": one["verdict"]} for one in sample])
    code, out, _ = distill("verify", "--audit-report", tmp_path / "s.jsonl", "--json")
    assert (code, json.loads(out)["right_precision"]["value"]) == (0, 1.0)
    assert "right precision" in distill("verify", "--audit-report", tmp_path / "s.jsonl")[1]
    assert distill("verify")[0] == 2


def test_an_encoder_flags_other_words_and_drops_nothing(distill: Distill, tmp_path: Path) -> None:
    train = write(tmp_path / "a.jsonl", [{"question": prose(1)}, {"question": prose(2)}])
    test = write(tmp_path / "e.jsonl", [{"question": prose(2)}])
    encoder = ("--encoder", "tests.tiny_recipe:encode")
    code, out, err = distill("decontaminate", train, "--against", test, *encoder)
    assert code == 0
    assert lines(out) == [
        {
            **{"row": 0, "kept": True, "label": "reworded", "coverage": 0.0},
            **{"match": f"{test}:1", "similarity": 1.0},
        },
        {
            **{"row": 1, "kept": False, "label": "same", "coverage": 1.0},
            **{"match": f"{test}:1", "similarity": 0.0},
        },
    ]
    assert f"1 perhaps reworded from {test}" in err
    assert "1 dropped" in err


def test_labels_and_the_judged_rows_are_never_written_over(
    distill: Distill, tmp_path: Path
) -> None:
    path = write(tmp_path / "a.jsonl", [row("72", "Answer: 72")])
    before = path.read_bytes()
    code, out, err = distill("verify", path, "--audit", path)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {path}: is there already\n")
    assert path.read_bytes() == before
    assert distill("verify", path, "--audit-report", path).code == 2


def test_a_kind_written_otherwise_gets_the_nearest_one(distill: Distill, tmp_path: Path) -> None:
    choice = row("A", "Answer: A", "choice", choices={"A": "x", "B": "y"})
    path = write(tmp_path / "a.jsonl", [choice, row("72", "Answer: 72", "Math")])
    _, out, err = distill("verify", path)
    assert [r["verdict"] for r in lines(out)] == ["right", "unknown"]
    assert f"{path}:2: kind: 'Math' is unknown; did you mean math?" in err
