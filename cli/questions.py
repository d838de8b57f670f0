"""`distill questions RECIPE`: have a teacher write questions about the recipe's documents."""

from __future__ import annotations

import click

from .options import (
    json_option,
    licence_ack_option,
    recipe_argument,
    seed_option,
    set_option,
    with_seed,
)
from .output import indented, print_json, print_lines


@click.command("questions")
@recipe_argument
@set_option
@licence_ack_option
@seed_option
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
@json_option
def questions(
    recipe: str,
    overrides: tuple[str, ...],
    licence_ack: str | None,
    seed: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write the questions of the sources of kind `documents` that RECIPE names.

    They are kept in the source's store, with the passage and the words that answer each; what the
    store holds is not asked again. Prints what became of all that was written.
    """
    import msgspec

    from distill.questions import write_questions
    from distill.recipe_file import load_recipe
    from traces.errors import UserError

    from .progress import progress
    from .stopping import stopping

    loaded = load_recipe(recipe, overrides=with_seed(overrides, seed, licence_ack))
    with stopping() as stop, progress(quiet=quiet) as shown:
        found = write_questions(loaded, stopping=stop, say=shown)
    if not found:
        raise UserError(f"{recipe}: no source is of kind `documents`", "see docs/recipes.md")
    rows = [{"store": one.source.store, **msgspec.structs.asdict(one.counts)} for one in found]
    print_json(rows) if as_json else print_lines(line for row in rows for line in indented(row))
    if not any(one.counts.questions for one in found):
        raise UserError(
            "no question was written that can be used",
            "the counts say why; `distill traces show STORE KEY` has each reply; ask another "
            "teacher, or with other passages",
        )
