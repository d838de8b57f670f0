"""`distill check RECIPE` and `distill doctor`: what is wrong before anything runs."""

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
from .output import aligned, print_json, print_lines


@click.command("check")
@recipe_argument
@set_option
@licence_ack_option
@seed_option
@json_option
def check(
    recipe: str,
    overrides: tuple[str, ...],
    licence_ack: str | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Look for everything that would stop a run of RECIPE, without running it.

    Reads the recipe, the prompts and the references, asks the teacher for one token, and renders
    one row for the student. Exit code 2 names what has to be mended.
    """
    from distill.pipeline import check as preflight
    from distill.recipe_file import load_recipe

    lines = preflight(load_recipe(recipe, overrides=with_seed(overrides, seed, licence_ack)))
    if as_json:
        print_json({"ok": True, "checks": lines})
    else:
        print_lines([*lines, "ok"])


@click.command("doctor")
@click.option("--sandbox", is_flag=True, help="Attack the isolation of programs; 20 seconds.")
@json_option
def doctor(sandbox: bool, as_json: bool) -> int:
    """Say what this machine has, lacks, and will use.

    With --sandbox: run programs that attack their judge on every isolation there is, and print what
    became of each. Exit code 2 when something is missing that every command needs, 1 when an attack
    is not blocked.
    """
    if sandbox:
        return _sandbox(as_json)
    from distill.doctor import examine

    checks = examine()
    if as_json:
        print_json(checks)
    else:
        print_lines(aligned([[c.status, c.name, c.detail] for c in checks]))
        hints = dict.fromkeys(c.hint for c in checks if c.hint)
        print_lines(f"hint: {hint}" for hint in hints)
    return 2 if any(c.status == "fail" for c in checks) else 0


def _sandbox(as_json: bool) -> int:
    from traces.verify import attacks, isolation

    lacks = {rung: isolation.missing(rung) for rung in isolation.RUNGS}
    found = list(attacks.matrix())
    if as_json:
        print_json({"lacks": lacks, "attacks": found})
    else:
        said = {(one.name, one.rung): one.said for one in found}
        rungs = [rung for rung, lack in lacks.items() if not lack]
        loose = {(one.name, one.rung) for one in found if not one.blocked}
        names = dict.fromkeys(one.name for one in found)
        print_lines(f"{rung} is missing: {lack}" for rung, lack in lacks.items() if lack)
        cell = {at: ("LOOSE " if at in loose else "blocked, ") + why for at, why in said.items()}
        rows = [["attack", *rungs], *([name, *(cell[name, r] for r in rungs)] for name in names)]
        print_lines(aligned(rows) if names else ["no isolation: programs are not run here"])
    if not found:
        return 2
    return 1 if any(not one.blocked for one in found) else 0
