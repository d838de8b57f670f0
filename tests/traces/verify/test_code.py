"""Programs are judged by what they give."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from traces.verify import isolation
from traces.verify.attacks import ECHO, SQUARES, judge
from traces.verify.check import Check
from traces.verify.code import begin_code, code_block, same, same_text
from traces.verify.pool import Pool

needs_jail = pytest.mark.skipif(
    not isolation.best(), reason=f"needs isolation: {isolation.why_none()}"
)


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=1, timeout_s=1.0) as shared:
        yield shared


@needs_jail
@pytest.mark.parametrize(
    ("gold", "code", "outcome"),
    [
        (SQUARES, "def f(x): return x * x", "right"),
        (SQUARES, "def f(x): return x ** 2.0", "right"),
        (SQUARES, "import math\nclass A:\n  pass\ndef f(x): return math.prod((x, x))", "right"),
        (SQUARES, "def f(x): return x + 2", "wrong"),
        (SQUARES, "def f(x): return str(x * x)", "wrong"),
        (SQUARES, "def g(x): return x * x", "wrong"),
        (SQUARES, "def f(x) return", "wrong"),
        (ECHO, "print(int(input()) ** 2)", "right"),
        (ECHO, "import sys\nprint(float(sys.stdin.read()) ** 2)", "right"),
        (ECHO, "print(9)", "wrong"),
        (ECHO, "print(int(input()) ** 2)\nraise SystemExit(3)", "wrong"),
        (
            json.dumps({"entry": "f", "tests": [[[[1, 2]], [2, 1]]]}),
            "f = lambda x: (2, 1)",
            "right",
        ),
        (json.dumps({"entry": "f", "tests": [[[1], [1, 2]]]}), "def f(x): return {2, 1}", "right"),
        (
            json.dumps({"entry": "f", "tests": [[[1], {"1": 2}]]}),
            "def f(x): return {1: 2}",
            "right",
        ),
        (json.dumps({"entry": "f", "tests": [[[1], True]]}), "def f(x): return 1", "wrong"),
        (json.dumps({"entry": "f", "tests": [[[1], 0.3]]}), "def f(x): return 0.1 + 0.2", "right"),
    ],
)
def test_programs_are_judged_by_their_outputs(
    gold: str, code: str, outcome: str, pool: Pool
) -> None:
    assert judge(code, pool, gold).outcome == outcome


@needs_jail
def test_input_left_unread_and_output_of_a_function_trouble_nobody(pool: Pool) -> None:
    large = json.dumps({"stdin": [["x" * 300_000, "1"]]})
    assert judge("print(1)", pool, large).outcome == "right"
    assert judge("def f(x):\n  print('y' * 3000000)\n  return x * x", pool).outcome == "right"


@pytest.mark.parametrize(
    ("gold", "reason"),
    [
        ("{", "no JSON"),
        ("[]", "needs `entry`"),
        ('{"entry": "f", "tests": []}', "no tests"),
        ('{"entry": "f()", "tests": [[[1], 1]]}', "is no name"),
        ('{"entry": "f", "tests": [1]}', "not pairs"),
        ('{"stdin": [[1, 2]]}', "not text"),
    ],
)
def test_a_reference_that_cannot_be_read_is_unknown_and_named(gold: str, reason: str) -> None:
    check = begin_code(gold, "```python\nx\n```")
    assert isinstance(check, Check)
    assert check.outcome == "unknown"
    assert reason in check.reason


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("```python\na\n```\nand\n```py\nb\n```", "b\n"),
        ("```python\na\n```\n```text\nb\n```", "a\n"),
        ("```\na\n```", "a\n"),
        ("```python\na", None),
        ("no code", None),
        ("````python\n```\na\n```\n````", "```\na\n```\n"),
    ],
)
def test_the_last_closed_block_of_python_counts(text: str, code: str | None) -> None:
    assert code_block(text) == code


def test_outputs_are_compared_by_value() -> None:
    assert same([1, 2.0000001], [1, 2])
    assert not same([1, 2.1], [1, 2])
    assert not same(10**20 + 1, 10**20)
    assert same_text("1.0000001  a\nb", "1 a b\n")
    assert not same_text("1.1 a", "1 a")
    assert not same_text("100", "100.1")


OPEN = """import os
def f(last):
    found = []
    for number in range(last):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found
"""


@needs_jail
@pytest.mark.parametrize("rung", isolation.RUNGS)
def test_a_program_holds_no_file_but_its_input_and_where_it_writes(rung: str) -> None:
    if isolation.missing(rung):
        pytest.skip(f"needs {rung}: {isolation.missing(rung)}")
    gold = json.dumps({"entry": "f", "tests": [[[300], [0, 1, 2, 3]]]})
    with Pool(workers=1, timeout_s=1.0, isolation=rung) as one:
        assert [judge(OPEN, one, gold).outcome for _ in range(2)] == ["right", "right"]
