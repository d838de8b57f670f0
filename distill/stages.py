"""What each stage does, from files to files. `distill.pipeline` puts them in order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from distill.card import write_card
from distill.curating import annotated, decide_by, pass_rates
from distill.harvest_stage import budget_of, cap_hint, facts_of, target_of, writers_licences
from distill.job import Job
from distill.judging import failed_opinions
from distill.pairs import Pairs
from distill.run import write_struct
from distill.verdicts import write_verdicts
from distill.workers import scale_out
from traces.curate.funnel import check_funnel, count_funnel
from traces.curate.surgery import Edit, edit
from traces.digests import DigestSet
from traces.errors import DataError, Interrupted, PartialError
from traces.harvest import harvest
from traces.licence import notes
from traces.plan import Plan
from traces.record import Decision, Prompt, Sampling, Trace
from traces.rows import StructFile, write_structs
from traces.store import TraceStore
from traces.verify.run import verify_all


def prepare_prompts(job: Job) -> dict[str, Any]:
    """Write both question sets, proved disjoint and each gold answer proved right."""
    training, held_out = job.proved.prompts
    write_structs(job.path("prompts/training.jsonl"), training)
    write_structs(job.path("prompts/held_out.jsonl"), held_out)
    job.say.note(
        f"{len(training)} training questions, {len(held_out)} held out, 0 in both (checked)"
    )
    # What comes later reads them from there, and they are held no more.
    job.proved.prompts = (
        StructFile(job.path("prompts/training.jsonl"), Prompt),
        StructFile(job.path("prompts/held_out.jsonl"), Prompt),
    )
    return {"training": len(training), "held_out": len(held_out), "in_both": 0}


def retry_failed(job: Job) -> None:
    """Have finished stages go on with the requests that failed, and what follows done again."""
    done = job.run.manifest.stages.get("harvest")
    failed = done.counts.get("failed", 0) if done else 0
    opinions = failed_opinions(job)
    if failed:
        job.run.manifest.retried += 1
        job.say.note(f"{failed} requests failed: asking again")
    if opinions:
        job.run.manifest.retried_opinions += 1
        job.say.note(f"{opinions} requests to the judge failed: asking again")
    if done and not failed and not opinions:
        job.say.note("no request failed: nothing to ask again")


def harvest_traces(job: Job) -> dict[str, Any]:
    """Ask the teacher what the store lacks.

    Raises:
        Interrupted: the user asked to stop; what came is kept.
        DataError: the teacher answered nothing at all.
        PartialError: a cap was reached; what came is kept.
    """
    section = job.recipe.harvest
    prompts = StructFile(job.path("prompts/training.jsonl"), Prompt)
    teacher, manifest = job.proved.teacher, job.run.manifest
    manifest.teacher, manifest.licence = teacher.record, job.proved.licence
    manifest.other_licences = writers_licences(job.recipe)
    for finding in (manifest.licence, *manifest.other_licences):
        for line in notes(finding) if finding else ():
            job.say.note(line)
    manifest.endpoints = facts_of(teacher, section.top_logprobs)
    sampling = Sampling(
        temperature=section.temperature,
        top_p=section.top_p,
        max_tokens=section.max_tokens,
        top_logprobs=section.top_logprobs,
    )
    wanted: dict[str, Any] = {
        "samples": section.samples,
        "sampling": sampling,
        "seed": job.recipe.seed,
    }
    job.say.start("traces", len(prompts) * section.samples)
    path = job.path("harvest/traces.sqlite")
    path.parent.mkdir(exist_ok=True)
    scale_out(job, prompts, path, **wanted)
    opened = TraceStore.open(path, stopping=job.stopping)
    with opened as store, target_of(job.recipe, prompts) as target:
        plan = Plan(prompts, teacher.record, **wanted, store=store)
        counts = harvest(
            prompts,
            teacher,
            store,
            stopping=job.stopping,
            on_trace=lambda trace: job.say.advance(1),
            budget=budget_of(job.recipe),
            target=target,
            plan=plan,
            **wanted,
        )
        among = plan.attempts(store) >= 0 if counts.spared else None
    write_structs(job.path("harvest/keys.jsonl"), plan.keys(among))
    saved = counts.reused + counts.asked - counts.failed
    if counts.stopped_by:
        raise PartialError(
            f"the cap of {counts.stopped_by} was reached with {saved} of {counts.requested} traces "
            "saved",
            cap_hint(counts),
        )
    # Without a stop, a cancelled one is a sample that its prompt no longer needed.
    if counts.not_asked or (job.stopping() and "cancelled" in counts.by_status):
        raise Interrupted(
            f"harvest stopped with {saved} of {counts.requested} traces saved",
            "the same command asks only for the rest",
        )
    if counts.failed == counts.requested:
        raise DataError(
            f"not one of {counts.requested} requests was answered: {counts.by_status}",
            f"see them with `distill traces stats {job.run.root}`",
        )
    if counts.failed:
        job.say.note(
            f"{counts.failed} requests failed: their traces will be dropped, unless --retry-failed "
            "asks again"
        )
    return dict(msgspec.to_builtins(counts))


def verify_traces(job: Job) -> dict[str, Any]:
    """One verdict on the answer of each trace, one on its steps where they can be checked."""
    section = job.recipe.verify
    pairs = Pairs(job.run.root)
    job.say.start("traces", len(pairs))
    found = verify_all(
        pairs,
        steps=section.steps,
        timeout_s=section.timeout_s,
        workers=section.workers,
        stopping=job.stopping,
    )
    account = write_verdicts(job, pairs, found)
    job.run.manifest.isolation = sorted(account.rungs)
    return {"traces": len(pairs), **dict(sorted(account.counts.items()))}


def curate_traces(job: Job) -> dict[str, Any]:
    """One decision for each trace, and the funnel, which must add up.

    Raises:
        DataError: nothing is kept.
    """
    section = job.recipe.curate
    with TraceStore.open(job.path("harvest/traces.sqlite"), readonly=True) as store:
        ledger = annotated(job, store)
        decisions = decide_by(section, ledger, store, job.path("annotate"))
    funnel = count_funnel(decisions)
    check_funnel(funnel, decisions, StructFile(job.path("harvest/keys.jsonl"), str))
    write_structs(job.path("curate/decisions.jsonl"), decisions)
    write_structs(job.path("curate/kept.jsonl"), [d.key for d in decisions if d.kept])
    write_struct(job.path("curate/funnel.json"), funnel)
    if not funnel.kept:
        reasons = ", ".join(f"{rule}: {n}" for rule, n in funnel.dropped)
        raise DataError(
            f"all {funnel.harvested} traces were dropped ({reasons})",
            f"the reason for each is in {job.path('curate/decisions.jsonl')}; the rules are in the "
            "section `curate` of the recipe",
        )
    return {"harvested": funnel.harvested, **dict(funnel.dropped), "kept": funnel.kept}


def kept_pairs(job: Job, edits: list[Edit]) -> Iterator[tuple[Prompt, Trace]]:
    """The traces that curation kept, after its surgery; what that did is added to `edits`."""
    rules = job.recipe.curate.surgery
    decisions = StructFile(job.path("curate/decisions.jsonl"), Decision)
    kept = DigestSet(decision.key for decision in decisions if decision.kept)
    for prompt, trace in Pairs(job.run.root):
        if trace.key in kept:
            edited, done = edit(trace, rules)
            edits += done
            yield prompt, edited


def write_rows(job: Job) -> dict[str, Any]:
    """Turn kept traces into token ids and weights, each row proved."""
    from distill.dataset import build_dataset
    from distill.kd import stored_signal

    train, layout = job.recipe.train, job.proved.row_format
    folder = job.path("dataset")
    edits: list[Edit] = []
    with TraceStore.open(job.path("harvest/traces.sqlite"), readonly=True) as store:
        shas = {name: record.tokenizer_sha for name, record in store.teachers().items()}
        report = build_dataset(
            kept_pairs(job, edits),
            folder,
            layout,
            teacher_tokenizers=shas,
            validation_share=train.validation_share,
            max_silent=train.row_check.max_silent,
            max_dropped_share=train.row_check.max_dropped_share,
            seed=job.recipe.seed,
            signal=stored_signal(store, train.loss.kd, layout.tokenizer_sha),
        )
    if train.loss.kd:
        job.say.note(
            f"the teacher's distribution is stored for {report.teacher_tokens} of "
            f"{report.trained_tokens} trained tokens; the others have cross-entropy alone"
        )
    if edits:
        write_structs(folder / "edits.jsonl", edits)
        job.say.note(f"{len({one.key for one in edits})} traces were edited: dataset/edits.jsonl")
    backend = getattr(layout.tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.save(str(folder / "tokenizer.json"))
    return dict(msgspec.to_builtins(report))


def train_model(job: Job) -> dict[str, Any]:
    """Train the student on the rows."""
    from distill.kd import divergence
    from distill.training.train import LoraOptions, TrainOptions, train_student
    from distill.training.trainer import LossOptions

    recipe, section = job.recipe, job.recipe.train
    own = {"lora", "loss", "row_check", "max_length", "validation_share"}
    options = section.model_dump(exclude=own)
    job.say.start("steps")

    def on_step(step: int, total: int, loss: float | None) -> None:
        job.say.advance(1, step=f"{step}/{total}", loss=round(loss, 4) if loss else None)

    report = train_student(
        job.path("dataset/rows.arrow"),
        job.path("train"),
        model=job.loaded.model(recipe.student.model),
        revision=recipe.student.revision,
        options=TrainOptions(**options, seed=recipe.seed, attention=recipe.student.attention),
        lora=LoraOptions(**section.lora.model_dump()),
        loss=LossOptions(
            section.loss.ce,
            section.loss.impl,
            divergence(section.loss.kd),
            section.loss.compact_below,
        ),
        stopping=job.stopping,
        on_step=on_step,
        pass_rates=pass_rates(job) if section.order == "easy_first" else {},
    )
    write_card(job.run.root)
    return dict(msgspec.to_builtins(report))
