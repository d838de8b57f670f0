"""Options of commands whose work is spread over processes, Ray or a job array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def spread_options(command: F) -> F:
    """Who does the work; `check_spread` says which go together."""
    for decorate in (
        click.option(
            "--print-slurm", is_flag=True, help="Print a job array of --world ranks and do nothing."
        ),
        click.option("--world", type=click.IntRange(1), help="How many ranks there are."),
        click.option(
            "--rank", type=click.IntRange(0), help="Do this share of the work only, from 0."
        ),
        click.option("--ray", is_flag=True, help="Work as tasks of Ray."),
        click.option(
            "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes."
        ),
    ):
        command = decorate(command)
    return command


def check_spread(
    workers: int, ray: bool, rank: int | None, world: int | None, print_slurm: bool
) -> None:
    """Refuse options of which one would have no effect.

    Raises:
        UsageError: several ways to work, or a rank that its world does not have.
    """
    if (rank is not None or print_slurm) != (world is not None):
        raise click.UsageError("--world goes with --rank or --print-slurm, and they with --world")
    if sum((workers > 1, ray, rank is not None, print_slurm)) > 1:
        raise click.UsageError("choose one of --workers, --ray, --rank and --print-slurm")
    if rank is not None and world is not None and rank >= world:
        raise click.UsageError(f"--rank {rank}: the ranks of --world {world} end at {world - 1}")
