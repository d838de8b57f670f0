"""From traces to the ledger: every measurement that a rule may want, made once."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from traces.curate import ledger
from traces.curate.ledger import Ledger, words
from traces.curate.overlap import Coverage, measure_overlaps, question_text
from traces.curate.phrases import phrases
from traces.errors import CountError
from traces.record import Prompt, Trace, Verdict
from traces.verify.check import NO_ANSWER

if TYPE_CHECKING:
    from traces.curate.nearby import Text
    from traces.curate.scan import U32

VERSION = 3
SHARES = ("repeated", "repeated_masked", "foreign", "compression", "branching")
_COMPRESSION_LEVEL = -1  # fast; loops show at any level


class Item(NamedTuple):
    """A trace with its prompt and all verdicts on it; of two on one aspect the later one holds."""

    prompt: Prompt
    trace: Trace
    verdicts: tuple[Verdict, ...] | list[Verdict] = ()


class _Row(NamedTuple):
    """The columns of the ledger that one item gives."""

    keys: str
    prompt: str
    domain: str
    status: str
    finish: str
    flags: int
    tokens: int
    tail: int
    repeated: float
    repeated_masked: float
    foreign: float
    compression: float
    branching: float
    answer: int
    steps: int
    steps_reason: str


def trace_text(trace: Trace) -> str:
    """Reasoning, answer and tool calls, one after the other."""
    calls = [str(call.get("function", call)) for call in trace.tool_calls]
    return "\n".join(part for part in (trace.reasoning, trace.answer, *calls) if part)


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
    from traces.curate.dedup import find_copies

    reader = _Reader()
    rows = [reader.row(item) for item in items]
    if len({row.keys for row in rows}) != len(rows):
        raise CountError(f"{len(rows)} traces share {len({row.keys for row in rows})} keys")
    covered: dict[str, Coverage] = {}
    if overlap_ngram is not None:
        asked = list(reader.prompts.values())
        covered = measure_overlaps(asked, evaluation_prompts, ngram=overlap_ngram)
    sketches = np.array(reader.sketches, np.uint32).reshape(-1, 128)
    copies = find_copies(
        reader.digests,
        sketches,
        best_first(rows),
        lambda number: compared(item_of(rows[number].keys))[0],
        floor,
    )
    none = Coverage("", 0.0, "", 0.0)
    overlaps = [covered.get(row.prompt, none) for row in rows]
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in _Row._fields}
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
    from traces.curate.dedup import SHORT_TOKENS, short_sketch
    from traces.curate.nearby import Text
    from traces.curate.scan import sketch

    text, question = trace_text(item.trace), question_text(item.prompt)
    count, found = sketch(text)
    if question and count < SHORT_TOKENS:
        return Text(text, question), short_sketch(text, question)
    return Text(text), found


def best_first(rows: list[_Row]) -> list[int]:
    """Rows with a text: whole before defective, right before unknown before wrong, then shorter."""
    grades = {ledger.RIGHT: 0, ledger.WRONG: 2}
    broken = ledger.FAILED | ledger.CUT | ledger.UNCLOSED | ledger.BLANK
    some = [number for number, row in enumerate(rows) if row.tokens]
    return sorted(
        some,
        key=lambda n: (
            rows[n].flags & broken > 0,
            grades.get(rows[n].answer, 1),
            rows[n].tokens,
            rows[n].keys,
        ),
    )


class _Reader:
    """Reads items one by one; keeps their sketches, digests and distinct prompts."""

    def __init__(self) -> None:
        import zstandard

        from traces.curate import scan

        self._scan = scan
        self._compress = zstandard.ZstdCompressor(level=_COMPRESSION_LEVEL).compress
        self.prompts: dict[str, Prompt] = {}
        self._letters: dict[str, Any] = {}
        self.digests: list[bytes] = []
        self.sketches: list[Any] = []

    def row(self, item: Item) -> _Row:
        from traces.curate.characters import foreign_share
        from traces.curate.dedup import SHORT_TOKENS, short_sketch

        prompt, trace = item.prompt, item.trace
        text, question = trace_text(trace), question_text(prompt)
        if prompt.id not in self.prompts:
            self.prompts[prompt.id] = prompt
            self._letters[prompt.id] = self._scan.letters(question)
        found, sketched = self._scan.scan(text)
        short = bool(question) and found.tokens < SHORT_TOKENS
        self.sketches.append(short_sketch(text, question) if short else sketched)
        self.digests.append(self._scan.exact_hash(question, text))
        data = text.encode("utf-8", "surrogatepass")
        answer, steps, reason = _outcomes(item.verdicts)
        return _Row(
            *(
                trace.key,
                prompt.id,
                prompt.domain,
                trace.status,
                trace.finish_reason,
                _flags(trace, question),
            ),
            *(found.tokens, found.tail, found.repeated, found.repeated_masked),
            foreign_share(found.letters, self._letters[prompt.id]),
            len(data) / len(self._compress(data)) if data else 0.0,
            found.branching,
            *(answer, steps, reason),
        )


def _flags(trace: Trace, question: str) -> int:
    found = sum(ledger.PHRASES[name] for name in phrases(question, trace.reasoning, trace.answer))
    if trace.status not in ("ok", "truncated"):
        found |= ledger.FAILED
    if trace.status == "truncated" or trace.finish_reason == "length":
        found |= ledger.CUT
    if trace.answer is None:
        found |= ledger.UNCLOSED
    elif not trace.answer.strip() and not trace.tool_calls:
        found |= ledger.BLANK
    if not (trace.reasoning or "").strip():
        found |= ledger.NO_REASONING
    return found


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
