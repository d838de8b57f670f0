"""Programs: run the last code block on tests, in a jail, and compare what it returns or prints.

The reference is JSON: `{"entry": name, "tests": [[args, expected], ...]}` calls a function,
`{"stdin": [[input, output], ...]}` runs a whole program. Expected outputs stay in this process.
Numbers are compared with a tolerance of 1e-6 where one is a float, printed text token by token.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from traces.verify.check import NO_ANSWER, Check, printable, unknown
from traces.verify.pool import Pool

VERIFIER = "code@2"
MAX_TESTS = 1000
_FENCE = re.compile(r"^[ \t]{0,3}(`{3,}|~{3,})[ \t]*([\w+#.-]*)[^\n]*$", re.MULTILINE)
_PYTHON = frozenset({"python", "python3", "py", "py3"})
_REL, _ABS = 1e-6, 1e-9


class Tests(NamedTuple):
    """`entry` is empty for whole programs. `cases` are inputs with what they must give."""

    entry: str
    cases: tuple[tuple[Any, Any], ...]


def read_tests(gold: str) -> Tests | str:
    """The tests of a reference, or what is wrong with it."""
    try:
        value = json.loads(gold)
    except (ValueError, RecursionError) as error:
        return f"the reference is no JSON: {error}"
    if not isinstance(value, dict) or ("stdin" in value) == ("entry" in value):
        return "the reference needs `entry` with `tests`, or `stdin`"
    entry, cases = value.get("entry", ""), value.get("tests" if "entry" in value else "stdin")
    if not isinstance(entry, str) or ("entry" in value and not entry.isidentifier()):
        return f"the reference's entry {entry!r:.40} is no name"
    if not isinstance(cases, list) or not all(isinstance(c, list) and len(c) == 2 for c in cases):
        return "the reference's tests are not pairs of input and expected output"
    if not cases:
        return "the reference has no tests"
    if len(cases) > MAX_TESTS:
        return f"the reference has {len(cases)} tests > {MAX_TESTS}"
    if not entry and not all(isinstance(part, str) for case in cases for part in case):
        return "the reference's stdin and output are not text"
    return Tests(entry, tuple((given, expected) for given, expected in cases))


def code_block(text: str) -> str | None:
    """The last closed block of Python, or else the last without a language; None without any."""
    python = plain = None
    opened: re.Match[str] | None = None
    for fence in _FENCE.finditer(text):
        if opened is None:
            opened = fence
        elif fence[1][0] == opened[1][0] and len(fence[1]) >= len(opened[1]) and not fence[2]:
            body = text[opened.end() + 1 : fence.start()]
            if opened[2].lower() in _PYTHON:
                python = body
            elif not opened[2]:
                plain = body
            opened = None
    return python if python is not None else plain


def begin_code(gold: str, answer: str) -> Check | Callable[[Pool], Check]:
    """The check of a reply where nothing can be run, otherwise what runs it."""
    tests = read_tests(gold)
    if isinstance(tests, str):
        return unknown(printable(tests, 200))._replace(verifier=VERIFIER)
    code = code_block(answer)
    if code is None:
        return unknown(NO_ANSWER)._replace(verifier=VERIFIER)
    return partial(run_tests, tests, code)


def run_tests(tests: Tests, code: str, pool: Pool) -> Check:
    """Right where every test passes; unknown only where nothing could be run. The verifier of the
    result names the isolation.
    """
    check = _entry(tests, code, pool) if tests.entry else _programs(tests, code, pool)
    return check._replace(extracted=printable(code), rule="code_block")


def _entry(tests: Tests, code: str, pool: Pool) -> Check:
    calls = [json.dumps(args if isinstance(args, list) else [args]) for args, _ in tests.cases]
    request = {"code": code, "entry": tests.entry, "calls": calls, "stdin": None}
    reply = pool.run_program(request)
    verifier = f"{VERIFIER}/{reply['rung']}" if reply["rung"] else VERIFIER
    if doubt := _not_run(reply):
        return doubt._replace(verifier=verifier)
    for number, (_, expected) in enumerate(tests.cases, 1):
        said = _line(reply["lines"], number - 1)
        if said is None or "value" not in said:
            why = _why(reply, said)
        elif same(said["value"], expected):
            continue
        else:
            why = f"gives {json.dumps(said['value']):.80}"
        return _failed(tests, number, why)._replace(verifier=verifier)
    return Check("right", "code", _counted(tests), verifier=verifier)


def _counted(tests: Tests) -> str:
    return f"{len(tests.cases)} test{'s' if len(tests.cases) > 1 else ''}"


def _failed(tests: Tests, number: int, why: str) -> Check:
    return Check("wrong", "code", printable(f"test {number} of {len(tests.cases)}: {why}"))


def _programs(tests: Tests, code: str, pool: Pool) -> Check:
    verifier = VERIFIER
    for number, (given, expected) in enumerate(tests.cases, 1):
        reply = pool.run_program({"code": code, "stdin": given, "entry": "", "calls": []})
        verifier = f"{VERIFIER}/{reply['rung']}" if reply["rung"] else VERIFIER
        if doubt := _not_run(reply):
            return doubt._replace(verifier=verifier)
        said = _line(reply["lines"], 0)
        if said is None or "value" not in said:
            why = _why(reply, said)
        elif same_text(reply["stdout"], expected):
            continue
        else:
            why = f"prints {reply['stdout'][:80]!r}"
        return _failed(tests, number, why)._replace(verifier=verifier)
    return Check("right", "code", _counted(tests), verifier=verifier)


def _not_run(reply: dict[str, Any]) -> Check | None:
    """Unknown where the reason lies with us: no isolation, or a lost process."""
    end = reply["end"]
    if end.startswith("no isolation") or end in ("worker lost", "time"):
        return unknown(end, "code")
    return None


def _line(lines: list[str], index: int) -> dict[str, Any] | None:
    try:
        found = json.loads(lines[index])
    except (IndexError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _why(reply: dict[str, Any], said: dict[str, Any] | None) -> str:
    if reply["end"] != "exit":
        return f"ended by {reply['end']}"
    first = _line(reply["lines"], 0) or {}
    return str((said or first).get("error") or first.get("fatal") or "no output")


def same(value: Any, expected: Any) -> bool:
    """Whether an output is the expected one: both plain JSON, sets and dicts as they are sent."""
    if isinstance(value, bool) or isinstance(expected, bool):
        return value is expected
    if isinstance(value, int | float) and isinstance(expected, int | float):
        if isinstance(value, int) and isinstance(expected, int):
            return value == expected
        return _close(float(value), float(expected))
    if isinstance(value, dict):
        return _same_sent(value, expected)
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(map(same, value, expected))
    return type(value) is type(expected) and bool(value == expected)


def _same_sent(value: dict[str, Any], expected: Any) -> bool:
    if isinstance(value.get("set"), list) and isinstance(expected, list):
        left = list(value["set"])
        return len(left) == len(expected) and all(_taken(left, wanted) for wanted in expected)
    if isinstance(value.get("dict"), list) and isinstance(expected, dict):
        # JSON knows text keys only.
        given = {str(key): item for key, item in value["dict"]}
        return given.keys() == expected.keys() and all(
            same(given[key], item) for key, item in expected.items()
        )
    return False


def _taken(left: list[Any], wanted: Any) -> bool:
    """Take an item that equals `wanted` out of `left`; False where there is none."""
    for index, item in enumerate(left):
        if same(item, wanted):
            del left[index]
            return True
    return False


def same_text(printed: str, expected: str) -> bool:
    """Token by token, numbers with a tolerance where one has a fraction."""
    left, right = printed.split(), expected.split()
    return len(left) == len(right) and all(map(_same_token, left, right))


def _same_token(left: str, right: str) -> bool:
    if left == right:
        return True
    if not ({*left, *right} & set(".eE")) or not (left[-1:].isdigit() or left[-1:] == "."):
        return False
    try:
        return _close(float(left), float(right))
    except ValueError:
        return False


def _close(left: float, right: float) -> bool:
    if math.isnan(left) or math.isnan(right):
        return math.isnan(left) and math.isnan(right)
    return math.isclose(left, right, rel_tol=_REL, abs_tol=_ABS)
