"""The stage that scores sound traces by the student before it is trained, for `curate.select`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from distill.artifacts import StudentScore
from distill.curating import STUDENT, annotated, decide_by
from distill.job import Job
from distill.pairs import Pairs
from distill.recipe import Recipe
from traces.curate.surgery import edit
from traces.errors import DataError, Interrupted
from traces.rows import read_structs, write_structs
from traces.store import TraceStore

if TYPE_CHECKING:
    from distill.rows import Row
    from distill.student_scores import Student


def needs_scores(recipe: Recipe, *orders: str) -> bool:
    """Whether the recipe selects by one of `orders`, or without them by any that needs a model."""
    select = recipe.curate.select
    return select is not None and select.by in (orders or STUDENT)


def score_traces(job: Job) -> dict[str, Any]:
    """Score what curation would keep without a selection: `annotate/student.jsonl`.

    Every score ever made is in `annotate/student_cache.jsonl`, by the hash of its row.

    Raises:
        Interrupted: the user asked to stop; what was scored is kept.
        DataError: no trace gives a training row.
    """
    from distill.student_scores import Student
    from traces.teachers.local import LocalTeacher

    section = job.recipe.student
    model = LocalTeacher(
        job.loaded.model(section.model), name=section.model, revision=section.revision
    )
    student = Student(model, job.proved.row_format.vocabulary)
    keys = _sound(job)
    job.say.start("traces", len(keys))
    cache = Cache(job.path("annotate/student_cache.jsonl"), student.name)
    natural = needs_scores(job.recipe, "natural")
    found = []
    for one in score_each(_rows(job, keys), student, cache, natural, job.stopping):
        found.append(one)
        job.say.advance(1)
    if not found:
        raise DataError(
            f"not one of {len(keys)} traces gives a training row, so none can be scored",
            "look at them with `distill traces show`, or select by another order",
        )
    write_structs(job.path("annotate/student.jsonl"), found)
    return {"sound": len(keys), "scored": len(found), "made_now": cache.made}


def _sound(job: Job) -> set[str]:
    """The traces that every rule but the selection keeps."""
    section = job.recipe.curate.model_copy(update={"select": None})
    with TraceStore.open(job.path("harvest/traces.sqlite"), readonly=True) as store:
        ledger = annotated(job, store)
        decisions = decide_by(section, ledger, store, job.path("annotate"))
    return {decision.key for decision in decisions if decision.kept}


def _rows(job: Job, keys: set[str]) -> Iterator[Row]:
    """The training rows of these traces, as the dataset will have them; others give none."""
    from distill.rows import build_row

    layout, rules = job.proved.row_format, job.recipe.curate.surgery
    with TraceStore.open(job.path("harvest/traces.sqlite"), readonly=True) as store:
        shas = {name: record.tokenizer_sha for name, record in store.teachers().items()}
    for prompt, trace in Pairs(job.run.root):
        if trace.key in keys:
            edited, _ = edit(trace, rules)
            built = build_row(prompt, edited, layout, shas.get(trace.teacher, ""))
            if built.row is not None:
                yield built.row


def score_each(
    rows: Iterator[Row],
    student: Student,
    cache: Cache,
    natural: bool,
    stopping: Callable[[], bool],
) -> Iterator[StudentScore]:
    """The score of each row in order, from the cache where it is there.

    A batch of which one is missing is scored whole, so that where it was stopped makes no
    difference.

    Raises:
        Interrupted: `stopping()` turned true.
    """
    from distill.score import BATCH_TOKENS, batches
    from distill.student_scores import row_hash

    for batch in batches(rows, BATCH_TOKENS):
        names = {row.key: row_hash(row) for row in batch}
        lacking = {key for key, name in names.items() if cache.lacks(name, natural)}
        if lacking:
            if stopping():
                raise Interrupted("scoring stopped; what was scored is saved", "run it again")
            made = student.score(batch, natural=lacking if natural else ())
            cache.add([one for one in made if one.key in lacking])
        for key, name in names.items():
            yield msgspec.structs.replace(cache.scores[name], key=key)


class Cache:
    """The scores that one scorer made, by the hash of their row; on disk as they come.

    A line that a crash left torn is cut off.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, path: Path, scorer: str) -> None:
        self._path, self.made = path, 0
        self.scores: dict[str, StudentScore] = {}
        if path.exists():
            whole = path.read_bytes().rfind(b"\n") + 1
            os.truncate(path, whole)
            known = read_structs(path, StudentScore)
            self.scores = {one.row: one for one in known if one.scorer == scorer}

    def lacks(self, row: str, natural: bool) -> bool:
        """Whether there is no score of this row, or none of the kind."""
        known = self.scores.get(row)
        return known is None or (natural and known.natural is None)

    def add(self, found: Sequence[StudentScore]) -> None:
        """Note scores; they are on disk when this returns."""
        self._path.parent.mkdir(exist_ok=True)
        with self._path.open("ab") as file:
            file.writelines(msgspec.json.encode(one) + b"\n" for one in found)
            file.flush()
            os.fsync(file.fileno())
        self.made += len(found)
        self.scores.update((one.row, one) for one in found)
