"""Which traces are kept: exactly one decision for each, failures included.

The rules, in the order in which they are tried; the first that fires is the one recorded:

status               the teacher did not answer
truncated            it ran into its token limit (unless `keep_truncated`)
unclosed_thinking    the thinking never ended (a truncated trace that is kept may do so)
empty                nothing after the thinking
missing_reasoning    no reasoning apart from the answer (`require_reasoning` only)
refusal              the answer begins by declining to help (`traces.curate.phrases`)
identity             it says which model it is, or who made it
cutoff               it tells of its own knowledge cutoff
too_short, too_long  canonical tokens of reasoning and answer
foreign_script       letters in scripts that neither Latin, Greek nor the question has
loop_tail            it ends in a loop
loop_ngrams          too many repeated 10-grams
loop_masked          the same with numbers masked
compression          it compresses too well
overlap              its question is an evaluation question
reworded             a judge says so where n-grams do not (`traces.curate.reworded`; optional)
wrong_answer         by `policy`; a text without any answer counts as wrong
unverified           `strict` only: the verdict is unknown, or there is none
wrong_steps          a step checker found a wrong step
semantic_duplicate   its question asks what a kept one asks (`traces.curate.semantic`; optional)
exact_duplicate      the same question and trace as a kept one
near_duplicate       nearly so
per_prompt           its question has enough without it
mix, budget          it is sound, and more than was wanted (`traces.curate.select`)

Under `prefer_right` a wrong trace is dropped only where its question has a right one that passed
all rules up to here, its steps included. Everything is decided from the ledger; no text is read but
of copies whose original another rule took.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Literal

import numpy as np

from traces.curate import ledger as columns
from traces.curate.annotate import Item, annotate
from traces.curate.copies import drop_copies
from traces.curate.drops import Drops, Mask
from traces.curate.ledger import OUTCOMES, RIGHT, UNKNOWN, WRONG, Ledger
from traces.curate.reworded import Reworded, drop_reworded
from traces.curate.select import Selection, select
from traces.curate.semantic import Alike, drop_alike
from traces.curate.spread import spread
from traces.record import Decision, Prompt

RULES = (
    "status",
    "truncated",
    "unclosed_thinking",
    "empty",
    "missing_reasoning",
    "refusal",
    "identity",
    "cutoff",
    "too_short",
    "too_long",
    "foreign_script",
    "loop_tail",
    "loop_ngrams",
    "loop_masked",
    "compression",
    "overlap",
    "reworded",
    "wrong_answer",
    "unverified",
    "wrong_steps",
    "semantic_duplicate",
    "exact_duplicate",
    "near_duplicate",
    "per_prompt",
    "mix",
    "budget",
)

Policy = Literal["prefer_right", "strict", "keep"]


def curate(
    items: Sequence[Item],
    *,
    overlap_ngram: int | None,
    evaluation_prompts: Iterable[Prompt] = (),
    near_duplicate: float | None,
    **options: Any,
) -> list[Decision]:
    """One decision per item, in their order: `annotate`, then `decide`.

    The same items in another order get the same decisions.

    Raises:
        CountError: two items have the same key.
    """
    by_key = {item.trace.key: item for item in items}
    found = annotate(
        items,
        evaluation_prompts=evaluation_prompts,
        overlap_ngram=overlap_ngram,
        floor=floor_of(near_duplicate),
        item_of=by_key.__getitem__,
    )
    return decide(found, item_of=by_key.__getitem__, near_duplicate=near_duplicate, **options)


def floor_of(near_duplicate: float | None) -> float | None:
    """The similarity from which copies are noted, for decisions at `near_duplicate`."""
    from traces.curate.dedup import FLOOR

    return None if near_duplicate is None else min(FLOOR, near_duplicate)


def decide(
    ledger: Ledger,
    *,
    policy: Policy,
    wrong_steps: Literal["drop", "keep"],
    keep_truncated: bool,
    require_reasoning: bool,
    phrases: Collection[str],
    min_tokens: int,
    max_tokens: int | None,
    foreign_script: float | None,
    loop_tail_chars: int | None,
    loop_ngram_share: float | None,
    loop_masked_share: float | None,
    max_compression: float | None,
    near_duplicate: float | None,
    overlap_coverage: float | None,
    per_prompt: int | None,
    selection: Selection | None = None,
    alike: Sequence[Alike] = (),
    alike_from: float = 1.0,
    reworded: Sequence[Reworded] = (),
    item_of: Callable[[str], Item],
) -> list[Decision]:
    """One decision per row, in their order. None switches the rule off that it belongs to.

    `alike` are pairs of questions, of which one goes where they are alike by `alike_from`.
    `reworded` are evaluation questions near to a prompt, which goes where a judge said so.
    """
    drops = Drops(ledger)
    _structure(drops, keep_truncated, require_reasoning, phrases)
    drops.below("too_short", ledger.tokens, min_tokens)
    drops.above("too_long", ledger.tokens, max_tokens, strictly=True)
    drops.above("foreign_script", ledger.foreign, foreign_script, strictly=True)
    drops.above("loop_tail", ledger.tail, loop_tail_chars)
    drops.above("loop_ngrams", ledger.repeated, loop_ngram_share)
    drops.above("loop_masked", ledger.repeated_masked, loop_masked_share)
    drops.above("compression", ledger.compression, max_compression)
    if overlap_coverage is not None:
        _overlapping(drops, overlap_coverage)
    if reworded:
        drop_reworded(drops, reworded)
    _wrong(drops, policy, wrong_steps == "drop")
    if alike:
        drop_alike(drops, alike, alike_from)
    drop_copies(drops, near_duplicate, item_of)
    if per_prompt is not None:
        _surplus(drops, per_prompt)
    if selection is not None:
        select(drops, selection)
    return drops.decisions(overlap_coverage)


def _structure(
    drops: Drops, keep_truncated: bool, require_reasoning: bool, phrases: Collection[str]
) -> None:
    ledger = drops.ledger

    def has(flag: int) -> Mask:
        found: Mask = (ledger.flags & flag) > 0
        return found

    def status(row: int) -> str:
        return ledger.status.at(row)

    def finish(row: int) -> str:
        return ledger.finish.at(row) or status(row)

    drops.drop("status", has(columns.FAILED), status, "ok")
    if not keep_truncated:
        drops.drop("truncated", has(columns.CUT), finish)
    drops.drop("unclosed_thinking", has(columns.UNCLOSED) & ~has(columns.CUT))
    drops.drop("empty", has(columns.BLANK), lambda row: 0.0, 1.0)
    if require_reasoning:
        drops.drop("missing_reasoning", has(columns.NO_REASONING))
    for name, flag in columns.PHRASES.items():
        if name in phrases:
            drops.drop(name, has(flag))


def _overlapping(drops: Drops, coverage: float) -> None:
    ledger = drops.ledger

    def value(row: int) -> str:
        return f"{ledger.overlap[row]:g} of {ledger.overlap_of.at(row)}"

    drops.drop("overlap", (ledger.overlap >= coverage) & (ledger.overlap > 0), value, coverage)


def _wrong(drops: Drops, policy: Policy, drop_steps: bool) -> None:
    ledger = drops.ledger
    unsound = (ledger.steps == WRONG) & drop_steps
    has_right = np.zeros(len(ledger.prompt.names), np.bool_)
    has_right[ledger.prompt.codes[drops.alive & (ledger.answer == RIGHT) & ~unsound]] = True

    def reason(row: int) -> str:
        return ledger.steps_reason.at(row) or "wrong"

    wrong = ledger.answer == WRONG
    if policy == "prefer_right":
        wrong = wrong & has_right[ledger.prompt.codes]
    if policy != "keep":
        drops.drop("wrong_answer", wrong, lambda row: "wrong", "right")
    if policy == "strict":
        unverified = (ledger.answer == UNKNOWN) | (ledger.answer == columns.NONE)
        drops.drop("unverified", unverified, lambda row: OUTCOMES[int(ledger.answer[row])], "right")
    drops.drop("wrong_steps", unsound, reason, "right")


def _surplus(drops: Drops, limit: int) -> None:
    ledger = drops.ledger
    counts = np.bincount(ledger.prompt.codes[drops.alive], minlength=len(ledger.prompt.names))
    crowded = drops.alive & (counts[ledger.prompt.codes] > limit)
    groups: dict[int, list[int]] = {}
    for row in np.flatnonzero(crowded).tolist():
        groups.setdefault(int(ledger.prompt.codes[row]), []).append(row)
    for group in groups.values():
        crowded[spread(ledger, group, limit)] = False
    drops.drop(
        "per_prompt",
        crowded,
        lambda row: float(counts[ledger.prompt.codes[row]]),
        float(limit),
    )
