"""What the cheap rules want to know of one trace, without its verdicts and without others."""

from __future__ import annotations

from typing import Any, NamedTuple

from traces.curate import ledger
from traces.curate.overlap import question_text
from traces.curate.phrases import phrases
from traces.record import Prompt, Trace

COMPRESSION_LEVEL = -5  # a third of the time of -1; told loops from other texts better


class Measured(NamedTuple):
    """One trace: columns of the ledger, and what copies are found by.

    `digest` 128 bits, equal for exact copies; `sketch` u32 [128].
    """

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
    digest: bytes
    sketch: Any


COLUMNS = Measured._fields[:-2]
"""Those that the ledger has as they are."""


def trace_text(trace: Trace) -> str:
    """Reasoning, answer and tool calls, one after the other."""
    calls = [str(call.get("function", call)) for call in trace.tool_calls]
    return "\n".join(part for part in (trace.reasoning, trace.answer, *calls) if part)


class Reader:
    """Measures traces one by one; remembers the scripts of questions."""

    def __init__(self) -> None:
        import zstandard

        from traces.curate import scan

        self._scan = scan
        self._compress = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress
        self._letters: dict[str, Any] = {}

    def measure(self, prompt: Prompt, trace: Trace) -> Measured:
        """The measures of one trace of `prompt`."""
        from traces.curate.characters import foreign_share
        from traces.curate.dedup import SHORT_TOKENS, short_sketch

        text, question = trace_text(trace), question_text(prompt)
        if prompt.id not in self._letters:
            self._letters[prompt.id] = self._scan.letters(question)
        found, sketched = self._scan.scan(text)
        short = bool(question) and found.tokens < SHORT_TOKENS
        data = text.encode("utf-8", "surrogatepass")
        return Measured(
            *(trace.key, prompt.id, prompt.domain, trace.status, trace.finish_reason),
            _flags(trace, question),
            *(found.tokens, found.tail, found.repeated, found.repeated_masked),
            foreign_share(found.letters, self._letters[prompt.id]),
            len(data) / len(self._compress(data)) if data else 0.0,
            found.branching,
            self._scan.exact_hash(question, text),
            short_sketch(text, question) if short else sketched,
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
