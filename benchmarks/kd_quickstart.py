"""SFT alone against SFT + the teacher's stored top k, at equal tokens, in the quickstart's setting.

Each seed harvests once; both arms train on the same curated traces, the same rows, the same number
of steps, and answer the same held-out problems. The only difference is `train.loss`. Progress is
kept in `--work`, so the same command goes on where it was stopped. The last line is one JSON
object: for each arm pass@1 over problems (the seeds are samples of each), and the paired difference
with its 95 % interval, whichever way it comes out.

    python benchmarks/kd_quickstart.py
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec

from distill.artifacts import Completion, Manifest, TrainReport
from distill.evaluation.stats import paired_difference, pass_at_1
from distill.pipeline import run_pipeline
from distill.progress import Silent
from distill.recipe_file import load_recipe
from distill.run import read_struct
from traces.errors import CountError
from traces.rows import read_structs

ARMS = ("sft", "sft_kd")
SHARED = ("prompts", "harvest", "verify", "curate", "manifest.json", "recipe.yaml")
Scores = dict[str, list[int]]
"""Per held-out problem, one 0 or 1 for each seed."""


def main() -> None:
    options = arguments()
    scores: dict[str, Scores] = {arm: {} for arm in ARMS}
    rows = []
    for seed in options.seeds:
        for arm in ARMS:
            row, right = one_arm(options, seed, arm)
            rows.append(row)
            for problem, value in right.items():
                scores[arm].setdefault(problem, []).append(value)
            print(msgspec.json.encode(row).decode(), file=sys.stderr, flush=True)
        check_equal_tokens(rows[-2], rows[-1])
    result = {**about(options), "seeds": rows, **summary(scores)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("ab") as file:
        file.write(msgspec.json.encode(result) + b"\n")
    print(msgspec.json.encode(result).decode())


def arguments() -> argparse.Namespace:
    today = datetime.now(timezone.utc).date().isoformat()
    results = Path(__file__).parent / "results"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=numbers, default=[0, 1, 2], help="such as 0,1,2")
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="sets")
    parser.add_argument("--ce", type=float, default=0.5)
    parser.add_argument("--weight", type=float, default=0.5)
    parser.add_argument("--kind", default="forward_kl")
    parser.add_argument("--work", type=Path, default=Path("runs/kd-quickstart"))
    parser.add_argument("--out", type=Path, default=results / f"kd-quickstart-{today}.jsonl")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def one_arm(
    options: argparse.Namespace, seed: int, arm: str
) -> tuple[dict[str, Any], dict[str, int]]:
    """Run one arm of one seed, or what is left of it; its figures, and 0 or 1 for each problem."""
    run = options.work / f"seed-{seed}-{arm}"
    overrides = [*options.sets, f"seed={seed}", "evaluate.models=[student]", "evaluate.gate={}"]
    if arm == "sft_kd":
        share_harvest(options.work / f"seed-{seed}-sft", run)
        overrides += [
            f"train.loss.ce={options.ce}",
            f"train.loss.kd={{kind: {options.kind}, weight: {options.weight}}}",
        ]
    loaded = load_recipe(options.recipe, overrides=overrides)
    run_pipeline(loaded, run, upto="evaluate", stopping=lambda: False, say=Silent())
    found = read_structs(run / "evaluate" / "student" / "completions.jsonl", Completion)
    right = {answer.prompt_id: int(answer.strict == "right") for answer in found}
    trained = read_struct(run / "train" / "report.json", TrainReport)
    manifest = read_struct(run / "manifest.json", Manifest)
    row = {
        "seed": seed,
        "arm": arm,
        "right": sum(right.values()),
        "problems": len(right),
        "rows": manifest.stages["dataset"].counts["rows"],
        "trained_tokens": trained.trained_tokens,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "train_s": trained.seconds,
        "loss_impl": trained.loss_impl,
    }
    return row, right


def share_harvest(source: Path, run: Path) -> None:
    """Give `run` the stages of `source` up to curation, whole or not at all."""
    if run.exists():
        return
    partial = run.with_name(f".{run.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for name in SHARED:
        if (source / name).is_dir():
            shutil.copytree(source / name, partial / name)
        else:
            shutil.copyfile(source / name, partial / name)
    partial.rename(run)


def check_equal_tokens(first: dict[str, Any], second: dict[str, Any]) -> None:
    for name in ("rows", "trained_tokens", "steps", "problems"):
        if first[name] != second[name]:
            raise CountError(f"the arms differ in {name}: {first[name]} and {second[name]}")


def summary(scores: dict[str, Scores]) -> dict[str, Any]:
    problems = sorted(scores["sft"])
    plain, taught = ([scores[arm][problem] for problem in problems] for arm in ARMS)
    return {
        "pass_at_1": {"sft": pass_at_1(plain), "sft_kd": pass_at_1(taught)},
        "sft_kd_minus_sft": paired_difference(taught, plain),
        "problems": len(problems),
    }


def about(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "benchmark": "kd_quickstart",
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "loss": {"ce": options.ce, "kd": {"kind": options.kind, "weight": options.weight}},
        "recipe": options.recipe,
        "set": options.sets,
    }


if __name__ == "__main__":
    main()
