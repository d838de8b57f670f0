"""Ask base, teacher and student the held-out problems under the same settings, and compare."""

from __future__ import annotations

import gc
from typing import Any

from distill.artifacts import Completion
from distill.card import write_card
from distill.evaluation.judge import judge
from distill.evaluation.summary import summarise
from distill.job import Job
from distill.recipe import EndpointTeacher, LocalTeacher, VllmTeacher
from distill.run import write_struct
from distill.sources import make_teacher
from traces.errors import Interrupted, PartialError
from traces.harvest import harvest
from traces.record import Prompt, Sampling
from traces.rows import read_structs, write_structs
from traces.store import TraceStore
from traces.teachers.protocol import Teacher
from traces.verify.pool import Pool


def respondent(job: Job, name: str) -> Teacher:
    """The model `name` (base, teacher or student) as something that can be asked."""
    from traces.teachers.local import LocalTeacher as Local

    if name == "teacher":
        return make_teacher(job.loaded)
    student = job.recipe.student
    batch_size = job.recipe.evaluate.batch_size
    if name == "student":
        return Local(str(job.path("train/student")), name="student", batch_size=batch_size)
    return Local(
        job.loaded.model(student.model),
        name=student.model,
        revision=student.revision,
        batch_size=batch_size,
    )


def evaluated(job: Job) -> list[str]:
    """The models this recipe compares. A solver or a file of completions cannot be asked."""
    askable = isinstance(job.recipe.teacher, LocalTeacher | VllmTeacher | EndpointTeacher)
    return [name for name in job.recipe.evaluate.models if name != "teacher" or askable]


def answer_problems(job: Job, name: str) -> dict[str, Any]:
    """Store and judge the completions of one model.

    Raises:
        Interrupted: the user asked to stop; what came is kept.
        PartialError: requests failed that may succeed later.
    """
    section = job.recipe.evaluate
    prompts = read_structs(job.path("prompts/held_out.jsonl"), Prompt)
    model = respondent(job, name)
    model.check()
    folder = job.path(f"evaluate/{name}")
    folder.mkdir(parents=True, exist_ok=True)
    sampling = Sampling(section.temperature, section.top_p, section.max_tokens)
    job.say.start(f"answers of the {name}", len(prompts) * section.samples)
    with TraceStore.open(folder / "traces.sqlite", stopping=job.stopping) as store:
        counts = harvest(
            prompts,
            model,
            store,
            samples=section.samples,
            sampling=sampling,
            seed=job.recipe.seed,
            stopping=job.stopping,
            on_trace=lambda trace: job.say.advance(1),
        )
        if counts.not_asked:
            raise Interrupted("evaluation stopped; the answers so far are saved", "run it again")
        if counts.failed:
            raise PartialError(
                f"{counts.failed} of {counts.requested} evaluation requests to the {name} failed",
                "the same command asks for them again",
            )
        by_id = {prompt.id: prompt for prompt in prompts}
        with Pool(job.recipe.verify.workers, job.recipe.verify.timeout_s) as pool:
            completions = [judge(by_id[t.prompt_id], t, name, pool) for t in store.traces()]
    del model
    gc.collect()
    write_structs(folder / "completions.jsonl", completions)
    return {
        "completions": len(completions),
        "right_strict": sum(c.strict == "right" for c in completions),
        "right_lenient": sum(c.lenient == "right" for c in completions),
        "tokens": sum(c.tokens for c in completions),
    }


def compare(job: Job) -> dict[str, Any]:
    """Write `evaluate/summary.json` from the stored completions."""
    section = job.recipe.evaluate
    completions: dict[str, list[Completion]] = {
        name: read_structs(job.path(f"evaluate/{name}/completions.jsonl"), Completion)
        for name in evaluated(job)
    }
    missing = [name for name in section.models if name not in completions]
    notes = [f"the {name} is a {job.recipe.teacher.kind}: it was not asked" for name in missing]
    settings = {
        "samples": section.samples,
        "temperature": section.temperature,
        "top_p": section.top_p,
        "max_tokens": section.max_tokens,
    }
    summary = summarise(
        completions,
        settings=settings,
        notes=notes,
        **section.gate.model_dump(),
    )
    write_struct(job.path("evaluate/summary.json"), summary)
    write_card(job.run.root)
    return {
        "models": len(completions),
        "gate_passed": sum(each.passed for each in summary.gate),
        "gate_failed": sum(not each.passed for each in summary.gate),
    }
