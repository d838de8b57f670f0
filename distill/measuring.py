"""The traces of a finished harvest measured by many, before `distill curate` wants the measures."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from distill.artifacts import Manifest
from distill.run import read_struct
from traces.curate.annotate import VERSION
from traces.curate.measure_store import Plan, phases, plan_of
from traces.errors import UserError
from traces.keys import content_hash
from traces.phases import in_processes, in_ray, missing, run_phases, run_rank
from traces.resplit import note_of
from traces.slurm import job_array

STORE = "harvest/traces.sqlite"


def measured_of(manifest: Manifest, root: Path) -> str:
    """What the measures of a run's traces are made of.

    Raises:
        UserError: the harvest is not finished.
    """
    harvest = manifest.stages.get("harvest")
    if harvest is None:
        raise UserError(f"{root}: its harvest is not finished", "finish it with `distill harvest`")
    note = note_of(root / STORE)
    split = note.read_text("utf-8") if note.exists() else ""
    return content_hash([harvest.fingerprint, split, VERSION])


def plan_of_run(root: Path, manifest: Manifest) -> Plan:
    """How the traces of a run are measured in parts."""
    made_of = measured_of(manifest, root)
    return plan_of(root / STORE, root / "harvest/keys.jsonl", root / "annotate/parts", made_of)


def measure_run(root: Path, *, workers: int, ray: bool) -> tuple[int, int]:
    """Measure what no part has yet: how many parts were made, and how many there are.

    Raises:
        UserError: the harvest is not finished.
        PartialError: a worker was lost; what is done is kept.
    """
    plan = _begin(root)
    left = sum(len(missing(plan.folder, phase)) for phase in phases(plan))
    run_phases(plan.folder, phases(plan), in_ray if ray else partial(in_processes, workers))
    return left, plan.parts


def measure_rank(root: Path, rank: int, world: int, *, patience_s: float = 60.0) -> None:
    """Do the share of one of `world` ranks, on a disk that all of them see.

    Raises:
        UserError: the harvest is not finished.
    """
    plan = _begin(root)
    run_rank(plan.folder, phases(plan), rank, world, patience_s=patience_s)


def slurm(root: Path, world: int) -> str:
    """A job array of `world` ranks for sbatch.

    Raises:
        UserError: the harvest is not finished.
    """
    _plan(root)
    words = ["distill", "traces", "measure", str(root.absolute())]
    return job_array("measure", words, world, "`distill curate` of the recipe goes on from there")


def _plan(root: Path) -> Plan:
    root = root.absolute()  # workers have folders of their own
    return plan_of_run(root, read_struct(root / "manifest.json", Manifest))


def _begin(root: Path) -> Plan:
    plan = _plan(root)
    plan.folder.mkdir(parents=True, exist_ok=True)
    return plan
