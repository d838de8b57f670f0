"""Which of the sound traces to train on where there are more than wanted.

Nothing here judges a trace bad: a budget of tokens and a mix of domains leave some out, best first
by one score. Scores come from the ledger:

length      canonical tokens
difficulty  1 - pass rate of the question: its right traces over its right and wrong ones
branching   words such as "wait" and "alternatively" per 1,000 tokens
diversity   place in an order of which each is unlike those before it (`traces.curate.diverse`)

Scores of another origin, such as a student's, are given with the selection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from traces.curate.drops import Drops, Mask
from traces.curate.ledger import RIGHT, WRONG, Ledger

By = Literal[
    "random", "short", "long", "hard", "easy", "steady", "diverse", "likely", "suited", "natural"
]
F64 = npt.NDArray[np.float64]


class Selection(NamedTuple):
    """`tokens` is the budget in canonical tokens, None for no limit. `mix` gives each domain a
    share of all tokens that are kept; a domain that is not named is kept out. `scores` by key, the
    lower the better, are those of `likely`, `suited` and `natural`; without one a trace comes last.
    """

    tokens: int | None
    by: By
    mix: dict[str, float]
    scores: Mapping[str, float] = MappingProxyType({})


def pass_rate(ledger: Ledger) -> F64:
    """Per row, the pass rate of its question among its verified traces; NaN where none is. [N]"""
    codes, count = ledger.prompt.codes, len(ledger.prompt.names)
    right = np.bincount(codes[ledger.answer == RIGHT], minlength=count).astype(np.float64)
    wrong = np.bincount(codes[ledger.answer == WRONG], minlength=count)
    with np.errstate(invalid="ignore"):
        return np.asarray((right / (right + wrong))[codes], np.float64)


def select(drops: Drops, selection: Selection) -> None:
    """Drop by the rules `mix` and `budget`, worst first. The same rows give the same choice."""
    ledger = drops.ledger
    rows = _ranked(ledger, drops.alive, selection)
    limits = _limits(ledger, rows, selection)
    spent = dict.fromkeys(limits, 0)
    unmixed, surplus = np.zeros((2, len(ledger.keys)), np.bool_)
    for row in rows:
        domain = ledger.domain.at(row) if selection.mix else ""
        tokens = int(ledger.tokens[row])
        if domain not in limits:
            unmixed[row] = True
        elif spent[domain] + tokens > limits[domain]:
            surplus[row] = True
        else:
            spent[domain] += tokens
    drops.drop("mix", unmixed, lambda row: ledger.domain.at(row), "none of the mix")
    drops.drop(
        "budget", surplus, lambda row: float(ledger.tokens[row]), float(sum(limits.values()))
    )


def _ranked(ledger: Ledger, alive: Mask, selection: Selection) -> list[int]:
    """Rows that are alive, best first; equals in an order that depends on their keys only."""
    rows = sorted(
        np.flatnonzero(alive).tolist(),
        key=lambda n: hashlib.blake2b(ledger.keys[n].encode()).digest(),
    )
    if selection.by == "diverse":
        from traces.curate.diverse import diverse_order

        return [rows[place] for place in diverse_order(ledger.sketch[rows]).tolist()]
    rate = np.nan_to_num(pass_rate(ledger), nan=0.5)
    scores: dict[By, F64] = {
        "random": np.zeros(len(ledger.keys)),
        "short": ledger.tokens.astype(np.float64),
        "long": -ledger.tokens.astype(np.float64),
        "hard": rate,
        "easy": -rate,
        "steady": ledger.branching,
    }
    score = scores.get(selection.by)
    if score is None:
        given = selection.scores
        score = np.array([given.get(key, np.inf) for key in ledger.keys], np.float64)
    return sorted(rows, key=lambda n: score[n])


def _limits(ledger: Ledger, rows: list[int], selection: Selection) -> dict[str, int]:
    """Tokens that each domain may have: its share of the most that all shares can be met with."""
    have: dict[str, int] = {}
    for row in rows:
        domain = ledger.domain.at(row) if selection.mix else ""
        have[domain] = have.get(domain, 0) + int(ledger.tokens[row])
    total = sum(have.values())
    budget = total if selection.tokens is None else min(selection.tokens, total)
    if not selection.mix:
        return {"": budget}
    named = {domain: share for domain, share in selection.mix.items() if share > 0}
    whole = sum(named.values())
    for domain, share in named.items():
        budget = min(budget, int(have.get(domain, 0) * whole / share))
    return {domain: round(budget * share / whole) for domain, share in named.items()}
