"""`distill ablate`: what each filter does to the student."""

from __future__ import annotations

from pathlib import Path

import click

from .options import licence_ack_option, recipe_argument, set_option, with_seed


class Names(click.ParamType):
    """Words separated by commas."""

    name = "names"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """The words."""
        return value if isinstance(value, tuple) else tuple(str(value).split(","))


@click.command("ablate")
@recipe_argument
@set_option
@click.option(
    "--arms",
    type=Names(),
    default="none,strict,prefer_right,dedup",
    show_default=True,
    help="Filters to compare; the first is what the others are measured against.",
)
@licence_ack_option
@click.option("--steps", type=click.IntRange(1), help="Training steps of each arm.")
@click.option("--seed", type=int, help="Short for --set seed=N.")
@click.option(
    "--run-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the arms live (default: runs/<name>-ablation).",
)
@click.option("--quiet", is_flag=True, help="No progress on stderr.")
def ablate(
    recipe: str,
    overrides: tuple[str, ...],
    arms: tuple[str, ...],
    licence_ack: str | None,
    steps: int | None,
    seed: int | None,
    run_dir: Path | None,
    quiet: bool,
) -> None:
    """Train the student of RECIPE behind different filters at equal tokens, and compare.

    Every arm starts from one harvest and its verdicts. Differences in pass@1 have 95 % intervals
    paired over problems. The last line is one JSON object. The same command resumes.
    """
    from distill.ablate import ablate as compare
    from distill.recipe_file import load_recipe

    from .progress import progress
    from .stopping import stopping

    changes = with_seed(overrides, seed, licence_ack)
    root = (
        run_dir or Path("runs") / f"{load_recipe(recipe, overrides=changes).recipe.name}-ablation"
    )
    with stopping() as stop, progress(quiet=quiet) as shown:
        found = compare(
            recipe,
            root,
            arms=arms,
            steps=steps,
            overrides=changes,
            stopping=stop,
            say=shown,
        )
    _print(found)


def _print(found: object) -> None:
    import msgspec

    from distill.ablate import Ablation

    from .output import aligned, print_lines

    assert isinstance(found, Ablation)
    rows = [["arm", "traces", "tokens", "pass@1", "difference", "95 % interval"]]
    for number, arm in enumerate(found.arms):
        gain = arm.difference
        compared = [f"{gain.value:+.3f}", f"{gain.low:+.3f} to {gain.high:+.3f}"]
        rows.append(
            [
                *(arm.name, str(arm.traces), str(arm.trained_tokens)),
                f"{arm.pass_at_1.value:.3f}",
                *(compared if number else ["", ""]),
            ]
        )
    print_lines(aligned(rows, frozenset((1, 2, 3, 4))))
    click.echo(msgspec.json.encode(found).decode())
