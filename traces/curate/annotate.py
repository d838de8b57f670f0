"""From traces to the ledger: every measurement that a rule may want, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from traces.curate import ledger
from traces.curate.ledger import Ledger, words
from traces.curate.measure import COLUMNS, Measured, Reader, trace_text
from traces.curate.overlap import Coverage, measure_overlaps, question_text
from traces.errors import CountError
from traces.record import Prompt, Trace, Verdict
from traces.verify.check import NO_ANSWER

if TYPE_CHECKING:
    from traces.curate.nearby import Text
    from traces.curate.scan import U32

VERSION = 5
SHARES = ("repeated", "repeated_masked", "foreign", "compression", "branching")


class Item(NamedTuple):
    """A trace with its prompt and all verdicts on it; of two on one aspect the later one holds."""

    prompt: Prompt
    trace: Trace
    verdicts: tuple[Verdict, ...] | list[Verdict] = ()


def annotate(
    items: Iterable[Item],
    *,
    evaluation_prompts: Iterable[Prompt] = (),
    overlap_ngram: int | None,
    floor: float | None,
    item_of: Callable[[str], Item],
) -> Ledger:
    """The ledger of `items`, in their order. No text is kept: `item_of` gives an item by key again.

    `floor` is the similarity from which copies are noted, None for exact copies only.

    Raises:
        CountError: two items have the same key.
    """
    reader = Reader()
    prompts: dict[str, Prompt] = {}
    rows, verdicts = [], dict[str, Iterable[Verdict]]()
    for item in items:
        rows.append(reader.measure(item.prompt, item.trace))
        prompts.setdefault(item.prompt.id, item.prompt)
        verdicts[item.trace.key] = item.verdicts
    return ledger_of(
        rows,
        verdicts,
        prompts.values(),
        evaluation_prompts=evaluation_prompts,
        overlap_ngram=overlap_ngram,
        floor=floor,
        item_of=item_of,
    )


def ledger_of(
    rows: Sequence[Measured],
    verdicts: Mapping[str, Iterable[Verdict]],
    prompts: Iterable[Prompt],
    *,
    evaluation_prompts: Iterable[Prompt],
    overlap_ngram: int | None,
    floor: float | None,
    item_of: Callable[[str], Item],
) -> Ledger:
    """The ledger of traces that are measured, in their order, with their verdicts by key.

    Raises:
        CountError: two have the same key.
    """
    from traces.curate.dedup import find_copies

    if len({row.keys for row in rows}) != len(rows):
        raise CountError(f"{len(rows)} traces share {len({row.keys for row in rows})} keys")
    outcomes = [_outcomes(verdicts.get(row.keys, ())) for row in rows]
    covered: dict[str, Coverage] = {}
    if overlap_ngram is not None:
        covered = measure_overlaps(prompts, evaluation_prompts, ngram=overlap_ngram)
    sketches = np.array([row.sketch for row in rows], np.uint32).reshape(-1, 128)
    copies = find_copies(
        [row.digest for row in rows],
        sketches,
        best_first(rows, [answer for answer, _, _ in outcomes]),
        lambda number: text_of(item_of(rows[number].keys), rows[number].tokens),
        floor,
    )
    none = Coverage("", 0.0, "", 0.0)
    overlaps = [covered.get(row.prompt, none) for row in rows]
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in COLUMNS}
    for place, name in enumerate(("answer", "steps", "steps_reason")):
        columns[name] = [outcome[place] for outcome in outcomes]
    kinds = {
        **dict.fromkeys(("flags", "answer", "steps"), np.uint8),
        **dict.fromkeys(("tokens", "tail"), np.int32),
        **dict.fromkeys(SHARES, np.float64),
    }
    for name, kind in kinds.items():
        columns[name] = np.array(columns[name], kind)
    for name in ("prompt", "domain", "status", "finish", "steps_reason"):
        columns[name] = words(columns[name])
    return Ledger(
        floor=1.0 if floor is None else floor,
        overlap_of=words([one.source for one in overlaps]),
        overlap=np.array([one.share for one in overlaps], np.float64),
        masked_of=words([one.masked_source for one in overlaps]),
        masked=np.array([one.masked_share for one in overlaps], np.float64),
        sketch=sketches[:, : ledger.SKETCH_BYTES].astype(np.uint8),
        **columns,
        **copies._asdict(),
    )


def compared(item: Item) -> tuple[Text, U32]:
    """What a trace is compared by with others, and the sketch to find them by."""
    from traces.curate.dedup import short_sketch
    from traces.curate.scan import sketch

    tokens, found = sketch(trace_text(item.trace))
    text = text_of(item, tokens)
    return text, short_sketch(*text) if text.question else found


def text_of(item: Item, tokens: int) -> Text:
    """What a trace of so many tokens is compared by."""
    from traces.curate.dedup import SHORT_TOKENS
    from traces.curate.nearby import Text

    question = question_text(item.prompt) if tokens < SHORT_TOKENS else ""
    return Text(trace_text(item.trace), question)


def best_first(rows: Sequence[Measured], answers: Sequence[int]) -> list[int]:
    """Rows with a text: whole before defective, right before unknown before wrong, then shorter."""
    grades = {ledger.RIGHT: 0, ledger.WRONG: 2}
    broken = ledger.FAILED | ledger.CUT | ledger.UNCLOSED | ledger.BLANK
    some = [number for number, row in enumerate(rows) if row.tokens]
    return sorted(
        some,
        key=lambda n: (
            rows[n].flags & broken > 0,
            grades.get(answers[n], 1),
            rows[n].tokens,
            rows[n].keys,
        ),
    )


def _outcomes(verdicts: Iterable[Verdict]) -> tuple[int, int, str]:
    """Of the answer, of the steps, and why a step is wrong. No answer at all is a wrong one."""
    latest = {verdict.aspect: verdict for verdict in verdicts}
    answer, steps = latest.get("answer"), latest.get("steps")
    outcome = answer.outcome if answer else "none"
    if answer and answer.outcome == "unknown" and answer.reason == NO_ANSWER:
        outcome = "wrong"
    return (
        ledger.OUTCOMES.index(outcome),
        ledger.OUTCOMES.index(steps.outcome if steps else "none"),
        steps.reason if steps else "",
    )
