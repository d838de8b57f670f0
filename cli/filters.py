"""`distill dedup` and `distill decontaminate`: which rows of a file to leave out."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .lines import file_argument, print_row, tally
from .spread import check_spread, spread_options

if TYPE_CHECKING:
    from traces.curate.rows import DedupRow
    from traces.jsonio import Faults


@click.command("dedup")
@click.argument(
    "paths",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
)
@click.option("--field", default="text", show_default=True, help="What to compare.")
@click.option(
    "--threshold",
    type=click.FloatRange(0.3, 1.0),
    default=0.8,
    show_default=True,
    help="Jaccard similarity of word 5-grams from which two rows are copies.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for intermediate files: the same command goes on with what is in it.",
)
@spread_options
def dedup(
    paths: tuple[Path, ...],
    field: str,
    threshold: float,
    work: Path | None,
    workers: int,
    ray: bool,
    rank: int | None,
    world: int | None,
    print_slurm: bool,
) -> None:
    """Find copies in FILE: one JSON line per row: row (from 0), cluster, kept, jaccard.

    `cluster` is the row that stands for the others, the shortest of them; `jaccard` is the exact
    similarity to it. Texts that differ in their numbers are no copies. A broken row is kept by
    itself, and exit code 2 at the end names it. Rows of several files are numbered on.

    The result is the same for any number of workers, ranks or machines.
    """
    from traces.curate import dedup_files

    check_spread(workers, ray, rank, world, print_slurm)
    if (rank is not None or print_slurm or ray) and work is None:
        raise click.UsageError("--rank, --ray and --print-slurm need --work, on a shared disk")
    if print_slurm and work and world:
        click.echo(dedup_files.slurm(paths, work, world, field=field, threshold=threshold))
    elif rank is not None and work and world:
        dedup_files.dedup_rank(paths, work, rank, world, field=field, threshold=threshold)
    else:
        _print_copies(
            dedup_files.dedup_files(
                paths, field=field, threshold=threshold, workers=workers, work=work, ray=ray
            )
        )


def _print_copies(found: tuple[Iterable[DedupRow], Faults]) -> None:
    rows, faults = found
    kept = count = 0
    for row in rows:
        count, kept = count + 1, kept + row.kept
        print_row(row.as_line())
    tally({"rows": count, "kept": kept, "copies": count - kept})
    faults.raise_if_any("broken rows", "the other rows are compared")


@click.command("decontaminate")
@file_argument
@click.option(
    "--against",
    multiple=True,
    required=True,
    metavar="EVAL",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file of evaluation questions. Can be given again.",
)
@click.option(
    "--field", help="What to compare (default: question, problem, prompt or text, the first there)."
)
@click.option(
    "--ngram", type=click.IntRange(1), default=8, show_default=True, help="Words of an n-gram."
)
@click.option(
    "--coverage",
    type=click.FloatRange(0.05, 1.0),
    default=0.5,
    show_default=True,
    help="Share of a row's n-grams found in one evaluation question from which it is dropped.",
)
@click.option("--keep-masked", is_flag=True, help="Keep rows that are alike but for numbers.")
@click.option(
    "--encoder",
    metavar="MODEL",
    help="Flag other words too: a sentence-transformers model, or your package.module:function.",
)
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(1), help="Nearest ones to look at."
)
@click.option(
    "--similarity",
    type=click.FloatRange(0, 1),
    default=0.7,
    show_default=True,
    help="Cosine similarity from which --encoder flags a row.",
)
def decontaminate(
    path: Path,
    against: tuple[Path, ...],
    field: str | None,
    ngram: int,
    coverage: float,
    keep_masked: bool,
    encoder: str | None,
    top: int,
    similarity: float,
) -> None:
    """Find evaluation questions in FILE: one JSON line per row: row (from 0), kept, label,
    coverage, match.

    `label` is `same`, `overlap` or `masked` (alike but for their numbers), `match` the place of
    the evaluation question. Counts per evaluation file go to stderr.

    With --encoder rows alike in other words, or in another language, are labelled `reworded` with
    their similarity and kept: a likeness of vectors is no proof.
    """
    from traces.curate.rows import Rewording, decontaminate_rows
    from traces.curate.semantic import load_encoder
    from traces.jsonio import Faults

    faults, count = Faults(), 0
    dropped = dict.fromkeys(map(str, against), 0)
    flagged = dropped.copy()
    rewording = Rewording(load_encoder(encoder), top, similarity) if encoder else None
    options = {"field": field, "ngram": ngram, "coverage": coverage}
    for row in decontaminate_rows(path, against, faults=faults, rewording=rewording, **options):
        count += 1
        kept = row.label in ("", "reworded") or (keep_masked and row.label == "masked")
        if row.label == "reworded":
            flagged[row.match.rpartition(":")[0]] += 1
        elif not kept:
            dropped[row.match.rpartition(":")[0]] += 1
        line = {"row": row.row, "kept": kept, **row._asdict()}
        print_row(line if encoder else {k: v for k, v in line.items() if k != "similarity"})
    tally({"rows": count, "dropped": sum(dropped.values())})
    for name, number in dropped.items():
        tally({f"of {name}": number})
        if encoder:
            tally({f"perhaps reworded from {name}": flagged[name]})
    faults.raise_if_any("broken rows", "the other rows are compared")
