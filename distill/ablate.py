"""Do the filters earn their place? The same student, trained at equal tokens behind each of them.

All arms start from one harvest with its verdicts. The arm that keeps fewest tokens sets the budget;
the others draw theirs by one order of hashes, so that arms share what they can. What is compared is
the students' pass@1 on the same problems, each arm with the first.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from distill.artifacts import Completion, Interval, RowReport, TrainReport
from distill.curating import decide_by
from distill.evaluation.stats import Scores, paired_difference, pass_at_1
from distill.pipeline import run_pipeline
from distill.progress import Progress
from distill.recipe_file import load_recipe
from distill.run import read_struct, write_struct
from traces.curate.ledger import load_ledger
from traces.errors import DataError, UserError
from traces.rows import read_structs
from traces.store import TraceStore

OFF = (
    "curate.wrong_steps=keep",
    "curate.near_duplicate=null",
    "curate.loop_tail_chars=null",
    "curate.loop_ngram_share=null",
    "curate.foreign_script=null",
)
ARMS = {
    "none": ("curate.policy=keep", *OFF),
    "strict": ("curate.policy=strict", *OFF),
    "prefer_right": ("curate.policy=prefer_right", *OFF),
    "dedup": ("curate.policy=keep", *OFF, "curate.near_duplicate=0.8"),
}
"""What each arm changes in the recipe. Structure, overlap and `per_prompt` stay the recipe's."""


class Arm(msgspec.Struct, frozen=True):
    """`available` and `budget` in canonical tokens; `trained_tokens` in the student's, as trained.

    `difference` is pass@1 less that of the first arm, paired over problems.
    """

    name: str
    available: int
    budget: int
    traces: int
    trained_tokens: int
    pass_at_1: Interval
    difference: Interval


class Ablation(msgspec.Struct, frozen=True):
    """The arms in the order they were asked for; all have the same seed."""

    recipe: str
    problems: int
    seed: int
    arms: list[Arm]


def ablate(
    recipe: str,
    root: Path,
    *,
    arms: Sequence[str],
    steps: int | None,
    overrides: Sequence[str],
    stopping: Callable[[], bool],
    say: Progress,
) -> Ablation:
    """Train and score one student for each of `arms`, in folders below `root`.

    The result is also in `ablation.json` there. `steps` limits each training. The same call
    resumes; finished arms are not done again.

    Raises:
        UserError: an arm is unknown or given twice, or an arm keeps nothing.
        Interrupted: the user asked to stop; what was done is saved.
    """
    unknown = [name for name in arms if name not in ARMS]
    if unknown or len(set(arms)) != len(arms) or len(arms) < 2:
        raise UserError(
            f"arms {', '.join(arms)!r}: at least two different ones are compared",
            f"choose among {', '.join(ARMS)}",
        )
    shared = root / "shared"
    start = load_recipe(recipe, overrides=(*overrides, *ARMS["dedup"]))
    run_pipeline(start, shared, upto="curate", stopping=stopping, say=say)
    available = {name: _tokens(recipe, overrides, name, shared) for name in arms}
    budget = min(available.values())
    done: dict[str, tuple[int, int, Scores]] = {}
    for name in arms:
        say.note(f"arm {name}: {budget} of {available[name]} tokens")
        changes = [*overrides, *ARMS[name], *_equal(budget, steps)]
        _begin(shared, root / name)
        loaded = load_recipe(recipe, overrides=changes)
        run_pipeline(loaded, root / name, upto="evaluate", stopping=stopping, say=say)
        rows = read_struct(root / name / "dataset/report.json", RowReport)
        trained = read_struct(root / name / "train/report.json", TrainReport)
        done[name] = (
            rows.rows,
            trained.trained_tokens,
            _scores(root / name / "evaluate/student/completions.jsonl"),
        )
    first = done[arms[0]][2]
    found = Ablation(
        start.recipe.name,
        len(first),
        start.recipe.seed,
        [
            Arm(
                *(name, available[name], budget, rows, trained),
                pass_at_1(scores),
                paired_difference(scores, first),
            )
            for name, (rows, trained, scores) in done.items()
        ],
    )
    write_struct(root / "ablation.json", found)
    return found


def _equal(budget: int, steps: int | None) -> list[str]:
    found = [
        f"curate.select={{tokens: {budget}, by: random}}",
        "evaluate.models=[student]",
        "evaluate.gate={}",
    ]
    return found if steps is None else [*found, f"train.max_steps={steps}"]


def _tokens(recipe: str, overrides: Sequence[str], name: str, shared: Path) -> int:
    """Canonical tokens that an arm keeps without a budget."""
    loaded = load_recipe(recipe, overrides=(*overrides, *ARMS[name], "curate.select=null"))
    ledger = load_ledger(shared / "annotate/ledger.arrow")
    if ledger is None:
        raise DataError(f"{shared}: the ledger is missing", "delete the folder and begin again")
    with TraceStore.open(shared / "harvest/traces.sqlite", readonly=True) as store:
        decisions = decide_by(loaded.recipe.curate, ledger, store, shared / "annotate")
    kept = sum(int(n) for n, d in zip(ledger.tokens, decisions, strict=True) if d.kept)
    if not kept:
        raise DataError(f"the arm {name} keeps no trace", "leave it out by --arms")
    return kept


def _begin(shared: Path, folder: Path) -> None:
    """Give an arm its copy of the harvest and the verdicts, whole or not at all."""
    if folder.exists():
        return
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(shared, temporary, ignore=shutil.ignore_patterns("curate"))
    temporary.rename(folder)


def _scores(path: Path) -> Scores:
    by_problem: dict[str, list[int]] = {}
    for completion in sorted(read_structs(path, Completion), key=lambda c: (c.prompt_id, c.sample)):
        by_problem.setdefault(completion.prompt_id, []).append(int(completion.strict == "right"))
    return list(by_problem.values())
