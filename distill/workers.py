"""A harvest by several engines at once, where the recipe asks for workers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from distill.job import Job
from distill.recipe import LocalTeacher, VllmTeacher
from distill.recipe_file import LoadedRecipe
from traces.errors import UserError
from traces.harvest import HarvestCounts
from traces.record import Prompt
from traces.teachers.protocol import Teacher


def scale_out(job: Job, prompts: Sequence[Prompt], store: Path, **wanted: Any) -> None:
    """Have the recipe's workers harvest into shards, and add what they made to `store`.

    Does nothing where the recipe has no workers. What the shards lack in the end is left for the
    ordinary harvest.

    Raises:
        UserError: the teacher cannot be asked by workers.
        PartialError: a worker was lost; what it had stored is kept.
        Interrupted: the user asked to stop; so it is then.
    """
    section = job.recipe.harvest.workers
    if section is None:
        return
    if not isinstance(job.recipe.teacher, LocalTeacher | VllmTeacher):
        raise UserError(
            f"harvest.workers: a teacher of kind {job.recipe.teacher.kind!r} has no engine",
            "workers are for kind local and vllm; one process asks any number of servers",
        )
    if job.recipe.harvest.until_right or job.recipe.harvest.caps != type(job.recipe.harvest.caps)():
        raise UserError(
            "harvest.workers: neither caps nor until_right are kept to across workers",
            "take them out, or ask servers from one process",
        )
    from traces.scale import harvest_sharded, merge

    def on_shard(counts: HarvestCounts) -> None:
        job.say.advance(counts.asked)

    paths = harvest_sharded(
        prompts,
        partial(build, job.loaded),
        store.with_name("shards"),
        workers=section.count,
        shards=section.shards,
        cpus=section.cpus,
        gpus=section.gpus,
        stopping=job.stopping,
        on_shard=on_shard,
        **wanted,
    )
    merge(paths, store)


def build(loaded: LoadedRecipe) -> Teacher:
    """The recipe's teacher, in a worker."""
    from distill.sources import make_teacher

    return make_teacher(loaded)
