"""`distill run` and its parts: `harvest`, `curate`, `train`, `evaluate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import stage_options, with_seed

if TYPE_CHECKING:
    from distill.recipe_file import LoadedRecipe


def execute(
    upto: str,
    *,
    recipe: str,
    run_dir: Path | None,
    overrides: tuple[str, ...],
    seed: int | None,
    licence_ack: str | None,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    retry_failed: bool,
) -> int:
    """Load the recipe and run it up to the stage `upto`, or forecast it. Returns the exit code."""
    from distill.recipe_file import load_recipe

    loaded = load_recipe(recipe, overrides=with_seed(overrides, seed, licence_ack))
    root = run_dir or Path("runs") / loaded.recipe.name
    if dry_run:
        return _forecast(loaded, as_json)
    return _run(upto, loaded, root, as_json, quiet, retry_failed)


def _forecast(loaded: LoadedRecipe, as_json: bool) -> int:
    from distill.forecast import forecast

    from .output import print_json, print_lines
    from .tables import forecast_lines

    found = forecast(loaded)
    if as_json:
        print_json(found)
    else:
        print_lines(forecast_lines(found))
    return 0


def _run(
    upto: str, loaded: LoadedRecipe, root: Path, as_json: bool, quiet: bool, retry_failed: bool
) -> int:
    from distill.pipeline import run_pipeline

    from .failures import say
    from .log import run_log, showing_warnings
    from .output import print_json, print_lines
    from .progress import progress
    from .stopping import stopping
    from .tables import result_json, result_lines

    name = loaded.recipe.name
    with run_log(root, name) as kept, stopping() as stop, progress(quiet=quiet) as shown:
        kept.append(f"{name} from {loaded.path}, up to {upto}")
        with showing_warnings(_on_stderr if quiet else shown.note):
            more = {"retry_failed": True} if retry_failed else {}
            result = run_pipeline(loaded, root, upto=upto, stopping=stop, say=shown, **more)
    if as_json:
        print_json(result_json(root, result.summary, result.failed_gates, upto))
    else:
        print_lines(result_lines(root, result.summary, upto))
    for failed in result.failed_gates:
        say(f"gate failed: {failed}")
    return 1 if result.failed_gates else 0


def _on_stderr(line: str) -> None:
    click.echo(line, err=True)


def _command(name: str, upto: str, text: str) -> click.Command:
    def callback(**options: Any) -> int:
        return execute(upto, **options)

    callback.__doc__ = text
    decorated: Callable[..., int] = stage_options(callback)
    return click.command(name)(decorated)


run = _command(
    "run",
    "report",
    "Do all RECIPE says: harvest, verify, curate, train, evaluate, report.\n\n"
    "RECIPE is a YAML file or the name of a packaged recipe. Finished stages are skipped, so the "
    "same command resumes a run. Exit code 1 means that a gate of the recipe failed.",
)
harvest = _command(
    "harvest", "harvest", "Ask the teacher of RECIPE and keep every reply as a trace."
)
curate = _command(
    "curate", "curate", "Harvest and verify, then decide which traces of RECIPE are kept."
)
train = _command("train", "train", "Do RECIPE up to the trained student.")
evaluate = _command(
    "evaluate", "evaluate", "Do RECIPE up to the scores of base, teacher and student."
)
