"""No model is evaluated on what it was trained on."""

from __future__ import annotations

import numpy as np

from distill.job import Job
from distill.recipe import Overlap
from traces.curate.ledger import load_ledger
from traces.errors import DataError
from traces.rows import read_structs

NAMED = 3


def refuse_overlap(job: Job) -> None:
    """Return where no trace that was kept answers an evaluation question, or nearly one.

    Questions that are alike but for their numbers do not count. The limit is that of
    `curate.overlap`, its default where the recipe switches the rule off.

    Raises:
        DataError: some do; names the first questions.
    """
    ledger = load_ledger(job.path("annotate/ledger.arrow"))
    if ledger is None:
        return
    limit = (job.recipe.curate.overlap or Overlap()).coverage
    kept = set(read_structs(job.path("curate/kept.jsonl"), str))
    rows = np.flatnonzero((ledger.overlap >= limit) & (ledger.overlap > 0)).tolist()
    found = {
        ledger.prompt.at(row): f"{ledger.overlap_of.at(row)}: {ledger.overlap[row]:.0%} of it"
        for row in rows
        if ledger.keys[row] in kept
    }
    if found:
        named = [f"{place} is in training prompt {prompt}" for prompt, place in found.items()]
        more = [f"and {len(named) - NAMED} more"] if len(named) > NAMED else []
        raise DataError(
            f"{len(found)} training questions overlap evaluation problems, so a score would mean "
            "nothing:\n" + "\n".join(named[:NAMED] + more),
            "switch curate.overlap on again, or take those questions out of one of the two",
        )
