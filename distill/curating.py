"""The ledger of a run, and the decisions of a recipe on it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from msgspec import MsgspecError, Struct, json, to_builtins

from distill.artifacts import StudentScore
from distill.job import Job
from distill.measuring import STORE, measured_of
from distill.recipe import Curate, Overlap, Select, Semantic
from traces.curate.annotate import VERSION, Item, ledger_of
from traces.curate.decide import decide, floor_of
from traces.curate.ledger import Ledger, load_ledger, save_ledger
from traces.curate.measure_store import measure_store
from traces.curate.reworded import Reworded
from traces.curate.select import Selection, pass_rate
from traces.curate.semantic import FLOOR, Alike, alike_questions, load_encoder
from traces.curate.semantic import VERSION as ALIKE
from traces.errors import DataError
from traces.jsonio import write_json
from traces.keys import content_hash
from traces.phases import in_processes
from traces.record import Decision, Prompt, Verdict
from traces.rows import StructFile, read_structs
from traces.store import TraceStore


class _Pairs(Struct):
    made_of: str
    pairs: list[Alike]


def decide_by(section: Curate, ledger: Ledger, store: TraceStore, folder: Path) -> list[Decision]:
    """The decisions of a recipe's section on what a ledger says of the traces in `store`.

    Pairs of alike questions, where the recipe asks for them, are noted in `folder`; a student's
    scores and pairs with evaluation questions are read from there.

    Raises:
        DataError: these are asked for and not there.
    """
    semantic = section.semantic
    return decide(
        ledger,
        **section.model_dump(exclude={"overlap", "select", "semantic", "surgery", "workers"}),
        overlap_coverage=section.overlap.coverage if section.overlap else None,
        selection=_selection(section.select, folder) if section.select else None,
        alike=noted_pairs(semantic, store, folder / "alike.json") if semantic else (),
        alike_from=semantic.threshold if semantic else 1.0,
        reworded=_reworded(section, folder),
        item_of=partial(item_of, store),
    )


STUDENT: dict[str, Callable[[StudentScore], float]] = {
    "likely": lambda score: score.nll,
    "suited": lambda score: score.rsr,
    "natural": lambda score: -(score.natural or 0.0),
}
"""Orders of `curate.select.by` that a student's scores give, the lower first."""


def _selection(section: Select, folder: Path) -> Selection:
    selection = Selection(**section.model_dump())
    if section.by not in STUDENT:
        return selection
    found = read_structs(folder / "student.jsonl", StudentScore)
    return selection._replace(scores={one.key: STUDENT[section.by](one) for one in found})


def _reworded(section: Curate, folder: Path) -> list[Reworded]:
    if section.overlap is None or section.overlap.semantic is None:
        return []
    return read_structs(folder / "reworded.jsonl", Reworded)


def noted_pairs(section: Semantic, store: TraceStore, path: Path) -> list[Alike]:
    """Pairs of alike questions: read where they were made of the same, else made and written."""
    prompts = list(store.prompts())
    floor = min(FLOOR, section.threshold)
    made_of = content_hash([section.encoder, floor, sorted(p.id for p in prompts), ALIKE])
    if path.exists():
        try:
            noted = json.decode(path.read_bytes(), type=_Pairs)
        except MsgspecError as error:
            raise DataError(f"{path}: {error}", "delete it") from error
        if noted.made_of == made_of:
            return noted.pairs
    pairs = alike_questions(prompts, load_encoder(section.encoder), floor=floor)
    write_json(path, _Pairs(made_of, pairs))
    return pairs


def annotated(job: Job, store: TraceStore) -> Ledger:
    """The ledger of the run's traces: read where it was made of the same, else made of them."""
    section = job.recipe.curate
    ngram = (section.overlap or Overlap()).ngram
    floor = floor_of(section.near_duplicate)
    path = job.path("annotate/ledger.arrow")
    held_out = read_structs(job.path("prompts/held_out.jsonl"), Prompt)
    parts = [job.fingerprints["verify"], ngram, floor, content_hash(to_builtins(held_out)), VERSION]
    made_of = content_hash(parts)
    found = load_ledger(path, made_of)
    if found is None:
        verdicts = _verdicts(job.path("verify/verdicts.jsonl"))
        rows = list(
            measure_store(
                job.path(STORE),
                job.path("harvest/keys.jsonl"),
                job.path("annotate/parts"),
                measured_of(job.run.manifest, job.run.root),
                partial(in_processes, section.workers),
            )
        )
        asked = {row.prompt for row in rows}
        found = ledger_of(
            rows,
            verdicts,
            (prompt for prompt in store.prompts() if prompt.id in asked),
            evaluation_prompts=held_out,
            overlap_ngram=ngram,
            floor=floor,
            item_of=partial(item_of, store),
        )
        save_ledger(path, found, made_of)
    return found


def _verdicts(path: Path) -> dict[str, tuple[Verdict, ...]]:
    """The verdicts on each trace: what the ledger wants of them, alike ones held once."""
    known: dict[tuple[Verdict, ...], tuple[Verdict, ...]] = {}
    found: dict[str, tuple[Verdict, ...]] = {}
    for one in StructFile(path, Verdict):
        reason = one.reason if one.aspect == "steps" or one.outcome == "unknown" else ""
        short = Verdict("", one.aspect, "", one.outcome, reason=reason)
        every = (*found.get(one.key, ()), short)
        found[one.key] = known.setdefault(every, every)
    return found


def pass_rates(job: Job) -> dict[str, float]:
    """The pass rate of each trace's question among its verified traces; others are left out."""
    with TraceStore.open(job.path("harvest/traces.sqlite"), readonly=True) as store:
        ledger = annotated(job, store)
    rates = zip(ledger.keys, pass_rate(ledger).tolist(), strict=True)
    return {key: rate for key, rate in rates if not math.isnan(rate)}


def item_of(store: TraceStore, key: str) -> Item:
    """A stored trace with its prompt, without verdicts."""
    trace = next(store.traces(key_prefix=key))
    return Item(store.prompt(trace.prompt_id), trace)
