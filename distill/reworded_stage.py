"""The stage that looks for evaluation questions in other words among the training questions."""

from __future__ import annotations

from typing import Any

from distill import recipe as recipes
from distill.job import Job
from distill.judging import ask
from traces.curate.reworded import (
    Reworded,
    count_benchmarks,
    judged_pair,
    nearest_questions,
    same_requests,
)
from traces.curate.semantic import load_encoder
from traces.errors import Interrupted
from traces.jsonio import write_json
from traces.record import Prompt
from traces.rows import read_structs, write_structs


def semantic_of(recipe: recipes.Recipe) -> recipes.Reworded | None:
    """How the recipe wants reworded questions to be found, None where it does not."""
    overlap = recipe.curate.overlap
    return None if overlap is None else overlap.semantic


def note_reworded(job: Job) -> dict[str, Any]:
    """Write `annotate/reworded.jsonl`, the pairs, and `reworded.json`, what there is by benchmark.

    Raises:
        Interrupted: the user asked to stop; what a judge said is kept.
        DataError: the encoder gives no vectors, or the judge answered nothing at all.
    """
    section = semantic_of(job.recipe)
    assert section is not None
    training = read_structs(job.path("prompts/training.jsonl"), Prompt)
    held_out = read_structs(job.path("prompts/held_out.jsonl"), Prompt)
    pairs = nearest_questions(
        training,
        held_out,
        load_encoder(section.encoder),
        top=section.top,
        threshold=section.threshold,
    )
    if job.stopping():
        raise Interrupted("the search for reworded questions stopped", "run it again")
    pairs = _judged(job, pairs, training, held_out)
    write_structs(job.path("annotate/reworded.jsonl"), pairs)
    report = count_benchmarks(pairs, held_out)
    write_json(job.path("annotate/reworded.json"), report)
    for name, counts in report.items():
        if counts["reworded"]:
            job.say.note(
                f"{name}: {counts['reworded']} of {counts['questions']} questions may be among the "
                f"training questions in other words, {counts['judged_same']} are by the judge"
            )
    flagged = len({pair.prompt for pair in pairs})
    same = len({pair.prompt for pair in pairs if pair.outcome == "right"})
    return {"training": len(training), "flagged": flagged, "judged_same": same}


def _judged(
    job: Job, pairs: list[Reworded], training: list[Prompt], held_out: list[Prompt]
) -> list[Reworded]:
    """The pairs with what the recipe's judge says of each; as they are where there is none."""
    section, teacher = job.recipe.verify.judge, job.proved.judge
    if section is None or teacher is None or not pairs:
        return pairs
    asked = {prompt.id: prompt for prompt in training}
    tested = {prompt.id: prompt for prompt in held_out}
    requests = [same_requests(asked[pair.prompt], tested[pair.evaluation]) for pair in pairs]
    replies, keys = ask(job, section, teacher, [each for two in requests for each in two])
    return [
        judged_pair(
            pair, (replies.get(one.id), replies.get(other.id)), (keys[one.id], keys[other.id])
        )
        for pair, (one, other) in zip(pairs, requests, strict=True)
    ]
