"""`distill report` and `distill inspect`: looking at a run that is there."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .options import json_option, run_argument
from .output import indented, print_json, print_lines


@click.command("report")
@run_argument
@json_option
def report(run_dir: Path, as_json: bool) -> None:
    """Build report.html of RUN again from its files."""
    require_run(run_dir)
    from distill.report.build import build_report

    path = build_report(run_dir)
    if as_json:
        print_json({"report": str(path)})
    else:
        click.echo(f"report: {path}")


@click.command("inspect")
@run_argument
@click.option("--masks", is_flag=True, help="Training rows with trained tokens set apart.")
@click.option("--trace", "key", metavar="KEY", help="One trace: its key or the start of it.")
@click.option(
    "--limit",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="How many rows --masks shows.",
)
@json_option
def inspect(run_dir: Path, masks: bool, key: str | None, limit: int, as_json: bool) -> None:
    """Look at training rows, their masks, or one trace of RUN.

    Without an option: the training rows in numbers.
    """
    require_run(run_dir)
    from distill.inspect import masked_rows, render_masks, rows_summary

    if masks and as_json:
        print_json(list(masked_rows(run_dir, key_prefix=key or "", limit=limit)))
    elif masks:
        colour = sys.stdout.isatty()
        print_lines(render_masks(run_dir, key_prefix=key or "", limit=limit, colour=colour))
    elif key:
        from .traces import show_trace

        show_trace(run_dir / "harvest" / "traces.sqlite", key, as_json, run_dir)
    else:
        report = rows_summary(run_dir)
        print_json(report) if as_json else print_lines(indented(report))


def require_run(run_dir: Path) -> None:
    """Raise DataError, naming the nearest run, unless `run_dir` is the directory of a run."""
    if (run_dir / "manifest.json").exists():
        return
    from difflib import get_close_matches

    from traces.errors import DataError

    siblings = [str(path.parent) for path in run_dir.parent.glob("*/manifest.json")]
    close = get_close_matches(str(run_dir), siblings, 1, 0.4)
    guess = f"; did you mean {close[0]}?" if close else ""
    raise DataError(f"{run_dir} is not the directory of a run{guess}", "give the path of a run")
