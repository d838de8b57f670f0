"""Training rows: the prompt, the teacher's own tokens, the end of the turn, and nothing else.

Chat templates strip, move or add thinking, so the template renders the prompt alone and the trace
is put behind it by us. `check_row` then proves it, on the row as it was stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from distill.tool_text import arguments_of, call_text
from traces.errors import RowCheckError
from traces.models.load import end_of_turn_id, render_prompt, special_ids, tokenizer_sha
from traces.record import Prompt, Trace


class Row(NamedTuple):
    """Token ids of a whole training row, and a weight for each: 0 on the prompt, 1 on the trace."""

    key: str
    prompt_id: str
    input_ids: list[int]
    weights: list[float]


class Built(NamedTuple):
    """What became of one trace: a row, or the reason why there is none."""

    row: Row | None
    reason: str = ""
    emitted: str = ""
    reused_ids: bool = False
    markers_written: bool = False


class RowFormat(NamedTuple):
    """How the student's rows are written; made by `row_format`.

    `end_of_turn` is the token id that ends its turn, `control_ids` are those that no trace may
    write by itself, `vocabulary` is how many ids the tokenizer has: a model's head may have more.
    """

    tokenizer: Any
    tokenizer_sha: str
    end_of_turn: int
    control_ids: frozenset[int]
    thinking_open: str
    thinking_close: str
    max_length: int
    vocabulary: int


def row_format(
    tokenizer: Any,
    *,
    end_of_turn: str | None,
    thinking_open: str,
    thinking_close: str,
    max_length: int,
) -> RowFormat:
    """The format of the rows of a student with this `tokenizer`.

    Raises:
        UserError: the tokenizer has no chat template, or no end of turn can be found.
    """
    markers = tokenizer(thinking_open + thinking_close, add_special_tokens=False)["input_ids"]
    return RowFormat(
        tokenizer,
        tokenizer_sha(tokenizer),
        end_of_turn_id(tokenizer, end_of_turn),
        special_ids(tokenizer) - frozenset(markers),
        thinking_open,
        thinking_close,
        max_length,
        vocabulary_size(tokenizer),
    )


def opening_left(prompt_text: str, layout: RowFormat) -> str | None:
    """What of the thinking's opening is still to be written behind a prompt that opens it.

    None where the prompt does not open the thinking.
    """
    marker = layout.thinking_open.strip()
    if not marker or not prompt_text.rstrip().endswith(marker):
        return None
    opened = prompt_text[prompt_text.rindex(marker) :]
    expected = layout.thinking_open.lstrip()
    return expected[len(opened) :] if expected.startswith(opened) else ""


def emitted_text(trace: Trace, layout: RowFormat, prompt_text: str) -> tuple[str, bool]:
    """The text the student learns to write, and whether its thinking markers are the recipe's.

    A trace whose thinking stands in its text, opened where the student's is opened, is taken as it
    is. Where the endpoint gave the reasoning apart, opened the thinking at the other place, or
    used the markers of another family, the recipe's markers go around the same reasoning and
    answer. A prompt that already opens the thinking gets no second opening.
    """
    left = opening_left(prompt_text, layout)
    opened = left is not None
    own_markers = (
        trace.raw_reasoning is None
        and ("open_missing" in trace.flags) == opened
        and (opened or layout.thinking_open.strip() in trace.content)
        and (trace.answer is None or layout.thinking_close.strip() in trace.content)
    )
    if trace.reasoning is None or own_markers:
        return trace.content, False
    opening = layout.thinking_open if left is None else left
    closing = layout.thinking_close if trace.answer is not None else ""
    return f"{opening}{trace.reasoning}{closing}{trace.answer or ''}", True


def build_row(prompt: Prompt, trace: Trace, layout: RowFormat, teacher_tokenizer: str) -> Built:
    """One training row, or the reason why the trace gives none.

    `teacher_tokenizer` is the hash of the teacher's tokenizer, empty where it is not known; see
    `reuses_ids` for when the teacher's token ids are used as they are. A truncated trace is trained
    without an end of turn. A whole one without thinking gives no row where the prompt already
    opens the thinking. Tool calls are written as the student's own template writes them, behind the
    rest; tool results are part of the prompt.

    Raises:
        DataError: the student's template cannot render the prompt.
    """
    tokenizer = layout.tokenizer
    prompt_ids = render_prompt(tokenizer, prompt.messages, prompt.tools)
    prompt_text = tokenizer.decode(prompt_ids[-16:])
    emitted, markers = emitted_text(trace, layout, prompt_text)
    written = call_text(tokenizer, prompt, trace, layout.end_of_turn)
    if written.reason:
        return Built(None, written.reason, emitted)
    opened = opening_left(prompt_text, layout) is not None
    if opened and trace.reasoning is None and trace.status != "truncated":
        return Built(None, "no_reasoning", emitted)
    said = emitted + arguments_of(trace) if written.text else emitted
    own_ids = tokenizer(said, add_special_tokens=False)["input_ids"]
    emitted += written.text
    reuse = reuses_ids(trace, emitted, layout, teacher_tokenizer)
    if reuse and trace.token_ids is not None:
        ids = list(trace.token_ids)
    else:
        ids = list(tokenizer(emitted, add_special_tokens=False)["input_ids"])
    if not ids:
        return Built(None, "empty", emitted)
    if layout.control_ids.intersection(own_ids if written.text else ids):
        return Built(None, "control_token_in_text", emitted)
    if trace.status != "truncated":
        ids.append(layout.end_of_turn)
    if len(prompt_ids) + len(ids) > layout.max_length:
        return Built(None, "too_long", emitted)
    weights = [0.0] * len(prompt_ids) + [1.0] * len(ids)
    row = Row(trace.key, prompt.id, prompt_ids + ids, weights)
    return Built(row, "", emitted, reuse, markers)


def reuses_ids(trace: Trace, emitted: str, layout: RowFormat, teacher_tokenizer: str) -> bool:
    """Whether the teacher's token ids are the student's tokens for the emitted text.

    They are where the tokenizers are the same and the text is the trace's own. A server does not
    tell its tokenizer: there they are where the student's spells the ids as that very text.
    """
    if trace.token_ids is None or teacher_tokenizer not in ("", layout.tokenizer_sha):
        return False
    if max(trace.token_ids, default=0) >= layout.vocabulary:
        return False
    if teacher_tokenizer and emitted == trace.content:
        return True
    return decoded_span(layout.tokenizer, trace.token_ids, 0) == emitted


def vocabulary_size(tokenizer: Any) -> int:
    """How many ids the tokenizer really uses: models pad their vocabulary beyond it."""
    return int(max(tokenizer.get_vocab().values())) + 1


def check_row(row: Row, built: Built, prompt: Prompt, trace: Trace, layout: RowFormat) -> None:
    """Prove that the row trains the emitted text, its end of turn, and nothing else.

    Raises:
        RowCheckError: it does not; the message names the trace and the first difference.
    """
    trained = [i for i, weight in enumerate(row.weights) if weight > 0]
    where = f"trace {trace.key} ({prompt.source})"
    if len(row.weights) != len(row.input_ids):
        raise RowCheckError(f"{where}: {len(row.weights)} weights, {len(row.input_ids)} tokens")
    if not trained:
        return
    start = trained[0]
    if trained != list(range(start, len(row.input_ids))):
        raise RowCheckError(f"{where}: the trained tokens are not one span at the end of the row")
    if row.input_ids[:start] != render_prompt(layout.tokenizer, prompt.messages, prompt.tools):
        raise RowCheckError(f"{where}: the untrained tokens are not the rendered prompt")
    end = len(row.input_ids)
    if trace.status != "truncated":
        end -= 1
        if row.input_ids[end] != layout.end_of_turn:
            raise RowCheckError(f"{where}: the end of the turn is not trained")
    if built.reused_ids:
        if tuple(row.input_ids[start:end]) != trace.token_ids:
            raise RowCheckError(f"{where}: the trained ids are not the teacher's")
        return
    text = decoded_span(layout.tokenizer, row.input_ids[:end], start)
    if text != built.emitted:
        raise RowCheckError(
            f"{where}: the trained text is not the emitted one: {difference(text, built.emitted)}",
            "the student's tokenizer cannot hold this text; choose another or drop these traces",
        )


def decoded_span(tokenizer: Any, ids: Sequence[int], start: int) -> str:
    """The text of `ids[start:]` as it reads behind `ids[:start]`."""
    options = {"skip_special_tokens": False, "clean_up_tokenization_spaces": False}
    before = tokenizer.decode(ids[:start], **options)
    whole = tokenizer.decode(ids, **options)
    return str(whole[len(before) :])


def difference(found: str, expected: str) -> str:
    """The first place where two texts differ, with a little of both."""
    position = next(
        (i for i, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b),
        min(len(found), len(expected)),
    )
    window = slice(max(0, position - 10), position + 20)
    return f"character {position}: {found[window]!r}, not {expected[window]!r}"
