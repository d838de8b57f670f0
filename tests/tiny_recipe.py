"""A recipe on the random two-layer Llama, and a progress that remembers what it was told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from distill.pipeline import RunResult, run_pipeline
from distill.progress import Silent
from distill.recipe_file import LoadedRecipe, load_recipe

RECIPE = """\
name: tiny
prompts:
  - {{kind: task, task: sum-of-three, count: {count}}}
teacher: {{kind: solver}}
harvest: {{max_tokens: 64}}
curate: {{near_duplicate: null}}
student: {{model: {model}}}
train:
  max_steps: 2
  batch_size: 2
  accumulation: 1
  max_length: 512
  gradient_checkpointing: false
  validation_share: 0.1
evaluate:
  problems:
    - {{kind: task, task: sum-of-three, count: 4}}
  max_tokens: 8
"""


def tiny_recipe(folder: Path, model: Path, *overrides: str, count: int = 12) -> LoadedRecipe:
    """Loaded from `folder`; `overrides` are `section.key=value`."""
    path = folder / "tiny.yaml"
    path.write_text(RECIPE.format(model=model, count=count))
    return load_recipe(path, overrides=overrides)


def encode(texts: Sequence[str]) -> list[list[float]]:
    """Vectors that point the same way: to this encoder all texts say one thing."""
    return [[1.0, 1.0] for _ in texts]


class Recorder(Silent):
    """`done` and `skipped` are stages in order; `why` says of each why it ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.skipped: list[str] = []
        self.why: dict[str, str] = {}
        self.notes: list[str] = []

    def stage(self, name: str, skipped: bool = False, why: str = "") -> None:
        (self.skipped if skipped else self.ran).append(name)
        self.why[name] = why

    def note(self, text: str) -> None:
        self.notes.append(text)


def run(
    loaded: LoadedRecipe,
    run_dir: Path,
    *,
    upto: str = "report",
    stopping: Callable[[], bool] = lambda: False,
    say: Recorder | None = None,
) -> tuple[RunResult, Recorder]:
    """The pipeline, and what it said."""
    said = say or Recorder()
    return run_pipeline(loaded, run_dir, upto=upto, stopping=stopping, say=said), said
