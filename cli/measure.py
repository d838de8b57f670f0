"""`distill traces measure`: the dear part of curation, spread over machines."""

from __future__ import annotations

from pathlib import Path

import click

from .options import run_argument
from .spread import check_spread, spread_options


@click.command("measure", short_help="Measure a harvest for `distill curate`, by many.")
@run_argument
@spread_options
def measure(
    run_dir: Path, workers: int, ray: bool, rank: int | None, world: int | None, print_slurm: bool
) -> None:
    """Measure the traces of RUN, whose harvest is finished, for `distill curate` to go on with.

    It does the same by itself with `curate.workers` processes: this is for more than one machine.
    Parts that are done are not done again, whoever did them, and the result is the same.
    """
    from distill import measuring

    check_spread(workers, ray, rank, world, print_slurm)
    if print_slurm and world:
        click.echo(measuring.slurm(run_dir, world))
    elif rank is not None and world:
        measuring.measure_rank(run_dir, rank, world)
    else:
        done, parts = measuring.measure_run(run_dir, workers=workers, ray=ray)
        click.echo(f"{done} of {parts} parts were measured, all are there now", err=True)
