"""What `distill check` can say while questions about documents are still to be written."""

from __future__ import annotations

from distill.preflight import Preflight
from distill.questions import missing_questions, writer_of
from distill.recipe_sources import DocumentSource
from distill.sources import load_each, source_name
from traces.licence import notes
from traces.verify.gold import check_gold


def check_unwritten(proved: Preflight) -> list[str]:
    """What holds of the rest of the recipe, and what was not looked at; empty if all is written.

    Raises:
        UserError: something does not hold.
    """
    loaded, recipe = proved.loaded, proved.loaded.recipe
    parts = [(recipe.prompts, "train"), (recipe.evaluate.problems, "test")]
    every = [source for part, _ in parts for source in part if isinstance(source, DocumentSource)]
    counts = [(source, *missing_questions(loaded, source)) for source in every]
    waiting = [(source, missing, total) for source, missing, total in counts if missing]
    if not waiting:
        return []
    lines = []
    for source, missing, total in waiting:
        writer = writer_of(loaded, source).record
        lines.append(
            f"{source_name(source)}: {missing} of {total} passages have no questions yet; "
            f"{writer.model} ({writer.kind}) is ready to write them"
        )
    unread = [source for source, _, _ in waiting]
    for part, split in parts:
        rest = [source for source in part if source not in unread]
        for prompts in load_each(loaded, rest, split) if rest else ():
            check_gold(prompts, need_reference=split == "test")
    teacher = proved.teacher.record
    lines.append(f"the teacher {teacher.model} ({teacher.kind}) is ready")
    lines += notes(proved.licence) if proved.licence is not None else []
    if proved.judge is not None:
        lines.append(f"the judge {proved.judge.record.model} ({proved.judge.record.kind}) is ready")
    return [
        *lines,
        "whether questions are in both sets, and the student's template, can be checked after "
        f"`distill questions {loaded.path}`",
    ]
