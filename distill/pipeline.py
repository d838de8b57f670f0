"""The story: prompts -> harvest -> verify -> curate -> dataset -> train -> evaluate -> report.

Each stage is a function from files to files in the run directory. It is skipped where it finished
before with the same part of the recipe, the same inputs and the same code version, and resumed
where it was interrupted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from distill import stages
from distill.artifacts import STAGES, EvaluationSummary
from distill.evaluation.clean import refuse_overlap
from distill.evaluation.stage import answer_problems, compare, evaluated
from distill.evaluation.summary import gate_failed
from distill.job import Job
from distill.kd import check_kd, scores_state
from distill.preflight import Preflight
from distill.progress import Progress
from distill.questions import write_questions
from distill.recipe_file import LoadedRecipe
from distill.report.build import build_report
from distill.reworded_stage import note_reworded, semantic_of
from distill.run import read_struct
from distill.score_stage import needs_scores, score_traces
from distill.sources import source_state, teacher_state
from distill.unwritten import check_unwritten
from traces.errors import MissingDependencyError
from traces.licence import notes
from traces.resplit import note_of

CODE_VERSION = {
    **{"prompts": 1, "harvest": 1, "verify": 3, "reworded": 2, "score": 1, "curate": 6},
    **{"dataset": 2, "train": 2},
}
"""Raised when a stage would give another result from the same inputs."""


class RunResult(NamedTuple):
    """What a run came to. `summary` is None where the evaluation was not reached."""

    summary: EvaluationSummary | None
    failed_gates: list[str]


def run_pipeline(
    loaded: LoadedRecipe,
    run_dir: Path,
    *,
    upto: str = "report",
    stopping: Callable[[], bool],
    say: Progress,
    retry_failed: bool = False,
) -> RunResult:
    """Do the stages of `loaded` up to `upto`, in `run_dir`.

    `retry_failed` asks again for the requests that failed in a harvest that is finished, and for
    those to a judge.

    Raises:
        UserError: recipe, data, teacher or environment; nothing is half-written.
        DistillError: counts, row check, or a stage that cannot go on.
        Interrupted: the user asked to stop; the same call resumes.
    """
    job = Job(loaded, run_dir, stopping, say)
    recipe = job.recipe
    if retry_failed:
        stages.retry_failed(job)
    last = STAGES.index(upto)
    if last >= STAGES.index("dataset"):
        check_kd(loaded, job.path("harvest/traces.sqlite"))
    write_questions(loaded, stopping=stopping, say=say)
    if job.run.is_new:  # all proofs come before the directory is made
        for stage_name in STAGES[: last + 1]:
            prove(job.proved, stage_name)
    for number, stage in enumerate((_prompts, _harvest, _verify, _curate, _dataset, _train)):
        if number <= last:
            stage(job)
    if last < STAGES.index("evaluate"):
        job.run.save()
        return RunResult(None, [])
    refuse_overlap(job)
    for name in evaluated(job):
        _answers(job, name)
    job.stage(
        "evaluate",
        lambda: compare(job),
        after=tuple(f"evaluate {name}" for name in evaluated(job)),
        gate=recipe.evaluate.gate,
        models=recipe.evaluate.models,
    )
    job.run.save()
    summary = read_struct(job.path("evaluate/summary.json"), EvaluationSummary)
    if upto == "report":
        build_report(run_dir)
    return RunResult(summary, gate_failed(summary))


PROOFS: dict[str, Callable[[Preflight], object]] = {
    "prompts": lambda proved: proved.prompts,
    "harvest": lambda proved: (proved.teacher, proved.fit),
    "verify": lambda proved: proved.judge,
    "reworded": lambda proved: proved.judge,
    "score": lambda proved: proved.row_format,
    "curate": lambda proved: needs_scores(proved.loaded.recipe) and proved.row_format,
    "dataset": lambda proved: proved.row_format,
}
"""What must hold before a stage begins."""


def _prompts(job: Job) -> None:
    sources: dict[str, Any] = {
        "training": source_state(job.loaded, job.recipe.prompts),
        "held_out": source_state(job.loaded, job.recipe.evaluate.problems),
    }
    _stage(job, "prompts", stages.prepare_prompts, (), folder="prompts", **sources)


def _harvest(job: Job) -> None:
    parts: dict[str, Any] = {
        "teacher": teacher_state(job.loaded),
        "harvest": job.recipe.harvest.model_dump(exclude={"caps", "workers", "hedge"}),
    }
    if job.run.manifest.retried:
        parts["retried"] = job.run.manifest.retried
    _stage(job, "harvest", stages.harvest_traces, ("prompts",), seed=job.recipe.seed, **parts)


def _verify(job: Job) -> None:
    parts: dict[str, Any] = {"verify": job.recipe.verify, **_opinions(job)}
    note = note_of(job.path("harvest/traces.sqlite"))
    if note.exists():
        parts["resplit"] = note.read_text("utf-8")
    # No folder to empty: the judge's store in it was paid for.
    _stage(job, "verify", stages.verify_traces, ("harvest",), **parts)


def _opinions(job: Job) -> dict[str, int]:
    """Part of what asks the judge: how often its failed requests were asked for again."""
    again = job.run.manifest.retried_opinions
    return {"retried_opinions": again} if again else {}


def _curate(job: Job) -> None:
    after: tuple[str, ...] = ("verify",)
    section = job.recipe.curate
    if (semantic := semantic_of(job.recipe)) is not None:
        judge = job.recipe.verify.judge
        parts: dict[str, Any] = {"semantic": semantic, "judge": judge, **_opinions(job)}
        parts |= {"seed": job.recipe.seed} if judge else {}  # of its requests
        _annotation(job, "reworded", note_reworded, ("prompts",), "reworded.jsonl", **parts)
        after = ("verify", "reworded")
    if needs_scores(job.recipe):
        parts = {
            "curate": section.model_dump(mode="json", exclude={"select", "workers"}),
            "natural": needs_scores(job.recipe, "natural"),
            "student": job.recipe.student,
            "max_length": job.recipe.train.max_length,
        }
        _annotation(job, "score", score_traces, after, "student.jsonl", **parts)
        after = (*after, "score")
    rules = section.model_dump(mode="json", exclude={"workers"})  # they change nothing
    _stage(job, "curate", stages.curate_traces, after, "curate", curate=rules)


def _annotation(
    job: Job,
    name: str,
    work: Callable[[Job], dict[str, Any]],
    after: tuple[str, ...],
    file: str,
    **parts: Any,
) -> None:
    """A stage that makes one `file` beside the ledger; no folder is emptied for it."""
    if not job.path(f"annotate/{file}").exists():
        job.run.forget(name)
    _stage(job, name, work, after, **parts)


def _dataset(job: Job) -> None:
    train = job.recipe.train
    parts: dict[str, Any] = {
        "student": job.recipe.student,
        "max_length": train.max_length,
        "row_check": train.row_check,
        "validation_share": train.validation_share,
        "seed": job.recipe.seed,
    }
    if train.loss.kd:  # another kind or weight trains on the same dataset
        parts["temperature"] = train.loss.kd.temperature
        parts["scores"] = scores_state(job.path("harvest/traces.sqlite"))
    _stage(job, "dataset", stages.write_rows, ("curate",), "dataset", **parts)


def _train(job: Job) -> None:
    _stage(job, "train", stages.train_model, ("dataset",), "train", train=job.recipe.train)


def _answers(job: Job, name: str) -> None:
    settings = job.recipe.evaluate.model_dump(exclude={"problems", "models", "gate", "batch_size"})
    parts: dict[str, Any] = {
        "held_out": source_state(job.loaded, job.recipe.evaluate.problems),
        "settings": settings,
        "seed": job.recipe.seed if settings["temperature"] else 0,
        "version": 1,
    }
    after: tuple[str, ...] = ()
    if name == "teacher":
        parts["teacher"] = teacher_state(job.loaded)
    elif name == "base":
        parts["student"] = [job.recipe.student.model, job.recipe.student.revision]
    else:
        after = ("train",)
    job.stage(
        f"evaluate {name}",
        lambda: answer_problems(job, name),
        after=after,
        folder=f"evaluate/{name}",
        **parts,
    )


def _stage(
    job: Job,
    name: str,
    work: Callable[[Job], dict[str, Any]],
    after: tuple[str, ...],
    folder: str = "",
    **parts: Any,
) -> None:
    job.stage(
        name,
        lambda: work(job),
        after=after,
        folder=folder,
        check=lambda: prove(job.proved, name),
        version=CODE_VERSION[name],
        **parts,
    )


def prove(proved: Preflight, stage: str) -> None:
    """Return where `stage` can begin.

    Raises:
        UserError: it cannot.
    """
    if stage in PROOFS:
        PROOFS[stage](proved)


def check(loaded: LoadedRecipe) -> list[str]:
    """What can be proved before a run: prompts, gold answers, disjointness, teacher, student.

    Returns one line for each thing that holds; writes nothing.

    Raises:
        UserError: something does not hold.
    """
    proved = Preflight(loaded)
    check_kd(loaded)
    if lines := check_unwritten(proved):
        return lines
    training, held_out = proved.prompts
    teacher = proved.teacher.record
    lines = [
        *(f"{name}: {count} questions ({kind})" for name, kind, count in proved.counts),
        f"{len(training)} training questions and {len(held_out)} held out, none in both",
        "every reference answer passes its own verifier",
        f"the teacher {teacher.model} ({teacher.kind}) is ready",
    ]
    lines += [proved.fit] if proved.fit else []
    if proved.licence is not None:
        lines += notes(proved.licence)
    if proved.judge is not None:
        lines.append(f"the judge {proved.judge.record.model} ({proved.judge.record.kind}) is ready")
    try:
        prove(proved, "dataset")
    except MissingDependencyError as error:
        return [*lines, f"the student was not looked at: {error.message}; {error.hint}"]
    return [*lines, f"the student {loaded.recipe.student.model} renders every kind of prompt"]
