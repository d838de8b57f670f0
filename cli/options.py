"""Options that several commands share, written once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

recipe_argument = click.argument("recipe", metavar="RECIPE")
run_argument = click.argument(
    "run_dir", metavar="RUN", type=click.Path(path_type=Path, file_okay=False)
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout.")
set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change one value of the recipe, such as train.epochs=2. Can be given again.",
)
seed_option = click.option("--seed", type=int, help="Short for --set seed=N.")

licence_ack_option = click.option(
    "--licence-ack",
    metavar="TEXT",
    help="Why you may train on outputs whose terms forbid it or are not known; kept.",
)


def stage_options(command: F) -> F:
    """RECIPE and everything the stage commands take."""
    for decorate in (
        json_option,
        click.option("--quiet", is_flag=True, help="No progress on stderr."),
        click.option("--dry-run", is_flag=True, help="Forecast counts and cost; write nothing."),
        click.option(
            "--retry-failed",
            is_flag=True,
            help="Ask again for the requests that failed, of a finished harvest and of the judge.",
        ),
        seed_option,
        licence_ack_option,
        set_option,
        click.option(
            "--run-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="Where the run lives (default: runs/<name>).",
        ),
        recipe_argument,
    ):
        command = decorate(command)
    return command


def with_seed(
    overrides: tuple[str, ...], seed: int | None, licence_ack: str | None = None
) -> tuple[str, ...]:
    """The overrides, `--seed` and `--licence-ack` among them."""
    if licence_ack is not None:
        overrides = (*overrides, f"teacher.licence_ack={json.dumps(licence_ack)}")
    return overrides if seed is None else (*overrides, f"seed={seed}")
