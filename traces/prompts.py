"""Prompts from a file of questions: columns found, references typed, every fault named by line."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from traces.choices import parse_choices, with_choices
from traces.columns import ANSWER, CHOICES, QUESTION, cell, columns_of, known, pick, require
from traces.conversations import before_reply, parse_messages
from traces.errors import DataError
from traces.jsonio import Faults, Row, read_rows
from traces.keys import prompt_id
from traces.record import Message, Prompt, Reference
from traces.verify.markup import clean
from traces.verify.math import gold_text
from traces.verify.numeric import parse_number

log = logging.getLogger(__name__)

VERIFIERS = ("auto", "math", "science", "choice", "text", "code", "legal", "rubric", "none")
_JSON_KINDS = ("code", "legal", "rubric")
_ROWS_TO_LOOK_AT = 100
_WORD = re.compile(r"[A-Za-z]{2,}")
_FUNCTIONS = {"pi", "sqrt", "sin", "cos", "tan", "log", "ln", "exp", "frac", "infty", "inf"}
_SYMBOL = re.compile(r"[\d+*/^=<>√π∞-]")


class Columns(NamedTuple):
    """Where a file keeps what. `answer` and `choices` are None where it has none."""

    question: str
    answer: str | None
    choices: str | None


def load_prompts(
    path: Path, *, verifier: str = "auto", limit: int | None = None, **options: Any
) -> list[Prompt]:
    """The prompts of a JSON Lines or Parquet file, read by `traces.jsonio.read_rows`.

    Takes the options of `prompts_from`, and raises as it.
    """
    _check_verifier(verifier)
    return prompts_from(read_rows(path), path, verifier=verifier, limit=limit, **options)


def prompts_from(
    rows: Iterable[Row],
    path: Path | str,
    *,
    question: str | None = None,
    answer: str | None = None,
    choices: str | None = None,
    verifier: str = "auto",
    instruction: str = "",
    system: str = "",
    domain: str = "",
    limit: int | None = None,
    metadata: Callable[[Row], dict[str, Any]] | None = None,
) -> list[Prompt]:
    """The prompts of `rows`, each once, in order.

    Args:
        rows: They may raise DataError.
        path: What errors call the rows as a whole.
        question: Column of the question, a text or a conversation, of which the part up to the
            last turn of the user is taken. Found by name if None, as are the next two.
        answer: Column of the reference answer. `a.b` reaches into an object.
        choices: Column of the choices; a question that does not list them has them added.
        verifier: `auto` picks by row: what its column `kind` names (a verifier, or `mcq`), else
            `choice` where there are choices, `math` where the answer is a number or a formula, else
            `text`. `none` asks for no reference. References of `code`, `legal` and `rubric` are
            JSON.
        instruction: Added to the last turn of the user, after a blank line.
        system: System message, in place of one that a conversation has.
        domain: Kept with each prompt.
        limit: Stop after so many prompts.
        metadata: What to keep with the prompt of a row.

    A row that repeats an earlier prompt is left out, counted and reported in the log; one that
    asks the same with another reference is a prompt of its own, and reported.

    Raises:
        DataError: a column is missing or ambiguous; or rows are broken, without question, or
            without the reference that the verifier needs: three named, all counted.
        ValueError: no verifier has that name.
    """
    _check_verifier(verifier)
    rows = iter(rows)
    head = list(islice(rows, _ROWS_TO_LOOK_AT))
    columns = _find_columns(path, [row.value for row in head], question, answer, choices, verifier)
    log.info("%s: columns %s", path, columns)
    found: dict[str, Prompt] = {}
    asked: dict[str, str] = {}
    repeats: list[str] = []
    disputed: list[str] = []
    faults = Faults()
    for row in chain(head, rows):
        try:
            prompt = _prompt(row, columns, verifier, instruction, system, domain)
        except ValueError as error:
            faults.add(row.place, str(error))
            continue
        if metadata is not None:
            prompt = msgspec.structs.replace(prompt, metadata=metadata(row))
        if found.setdefault(prompt.id, prompt) is not prompt:
            repeats.append(f"{row.place} repeats {found[prompt.id].source}")
            continue
        first = asked.setdefault(prompt_id(prompt.messages, None, prompt.tools), row.place)
        if first != row.place:
            disputed.append(f"{row.place} and {first}")
        if len(found) == limit:
            break
    faults.raise_if_any(
        "rows like that",
        "correct these rows, or set `verifier: none` for prompts without a checkable answer",
    )
    if repeats:
        log.warning("%d repeated prompts are left out: %s", len(repeats), "; ".join(repeats[:3]))
    if disputed:
        named = "; ".join(disputed[:3])
        log.warning("%d prompts ask the same with another reference: %s", len(disputed), named)
    return list(found.values())


def _check_verifier(verifier: str) -> None:
    if verifier not in VERIFIERS:
        raise ValueError(f"verifier must be one of {', '.join(VERIFIERS)}, not {verifier!r}")


def _find_columns(
    path: Path | str,
    rows: Sequence[dict[str, Any]],
    question: str | None,
    answer: str | None,
    choices: str | None,
    verifier: str,
) -> Columns:
    names = columns_of(rows)

    def find(given: str | None, tiers: tuple[tuple[str, ...], ...], what: str) -> str | None:
        return require(given, rows, path, what) if given else pick(tiers, names, what, path)

    asked = find(question, QUESTION, "question")
    if asked is None:
        raise DataError(f"{path}: no column is known to hold the question", _set("question", names))
    if verifier == "none":
        return Columns(asked, None, choices and require(choices, rows, path, "choices"))
    listed = find(choices, CHOICES, "choices") if verifier in ("auto", "choice") else choices
    wanted = find(answer, ANSWER, "answer")
    if wanted in (None, asked):
        raise DataError(
            f"{path}: no column is known to hold the reference answer",
            f"{_set('answer', names)}; or set `verifier: none`",
        )
    return Columns(asked, wanted, listed)


def _set(what: str, columns: Sequence[str]) -> str:
    return f"set `{what}:` to its name; {known(columns)}"


def _prompt(
    row: Row, columns: Columns, verifier: str, instruction: str, system: str, domain: str
) -> Prompt:
    """The prompt of one row. Raises ValueError where it cannot be made."""
    messages = before_reply(parse_messages(question_of(row.value, columns.question)))
    reference = _reference(row.value, columns, verifier) if columns.answer else None
    last = messages[-1].content
    if reference and reference.choices:
        last = with_choices(last, reference.choices)
    if instruction:
        last = f"{last}\n\n{instruction}"
    messages = (*messages[:-1], msgspec.structs.replace(messages[-1], content=last))
    if system:
        messages = (Message("system", system), *(m for m in messages if m.role != "system"))
    return Prompt(prompt_id(messages, reference), messages, reference, domain, row.place)


def question_of(row: dict[str, Any], column: str) -> Any:
    """The question of a row, a text or a conversation. Raises ValueError where there is none."""
    value = cell(row, column)
    if value is None:
        raise ValueError(f"no question in column {column!r}")
    if column == "instruction" and isinstance(more := row.get("input"), str) and more.strip():
        return f"{value}\n\n{more}"  # as Alpaca's template joins them
    return value


def _reference(row: dict[str, Any], columns: Columns, verifier: str) -> Reference:
    assert columns.answer is not None
    value = cell(row, columns.answer)
    verifier = _kind_of(row, verifier)
    if verifier in _JSON_KINDS and isinstance(value, dict):
        value = msgspec.json.encode(value).decode()
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list | dict):
        raise ValueError(
            f"column {columns.answer!r} is not one answer but a {type(value).__name__}"
        )
    text = "" if value is None else str(value).strip()
    if not text:
        raise ValueError(f"no reference answer in column {columns.answer!r}")
    listed = cell(row, columns.choices) if columns.choices else None
    if verifier in ("auto", "choice") and listed:
        choices, label = parse_choices(listed, value)
        return Reference("choice", label, choices)
    if verifier == "auto":
        verifier = "math" if looks_mathematical(gold_text(text)) else "text"
        text = gold_text(text).strip()
    return Reference(verifier, gold_text(text).strip() if verifier == "math" else text)


def _kind_of(row: dict[str, Any], verifier: str) -> str:
    """The verifier of a row: under `auto` its own `kind`, where that names one."""
    kind = row.get("kind")
    if verifier != "auto" or not isinstance(kind, str):
        return verifier
    kind = "choice" if kind == "mcq" else kind
    return kind if kind in VERIFIERS[1:-1] else verifier


def looks_mathematical(answer: str) -> bool:
    """Whether an answer is a number or a formula rather than words."""
    cleaned = clean(answer)
    if not cleaned[:1].isalpha() and parse_number(cleaned) is not None:
        return True  # units and all
    text = re.sub(r"\\(?:text|mathrm|mbox|textbf|mathbf)\s?\{[^{}]*\}", " words ", answer)
    if any(
        word.lower() not in _FUNCTIONS for word in _WORD.findall(re.sub(r"\\[A-Za-z]+", "", text))
    ):
        return False
    return bool(re.search(r"\\[A-Za-z]", text) or _SYMBOL.search(text))
