"""`distill licence`: what the registry says of a teacher, and hashes of licence texts."""

from __future__ import annotations

import click

from .options import json_option, recipe_argument, set_option
from .output import aligned, print_json, print_lines


@click.group("licence")
def group() -> None:
    """What licences say of training on a teacher's outputs. Facts, not legal advice."""


@group.command("list")
@json_option
def list_entries(as_json: bool) -> None:
    """List the registry: weights, then hosts."""
    from traces.licence import registry

    known = registry()
    if as_json:
        print_json(known)
        return
    rows = [
        [" ".join(e.models) or e.route, e.output_training, e.licence or e.document,
         "pinned" if e.document_sha256 else "text not pinned"]
        for e in (*known.weights, *known.routes)
    ]  # fmt: skip
    print_lines([*aligned(rows), f"as of {known.as_of}"])


@group.command("hash", short_help="Print the SHA-256 of a licence's text.")
@click.argument("source", metavar="FILE|URL")
@json_option
def hash_(source: str, as_json: bool) -> None:
    """Print the SHA-256 of a licence's text, to be set as `teacher.licence_sha256`."""
    from traces.licence_text import fetch, sha256

    text = fetch(source)
    found = {"source": source, "bytes": len(text), "sha256": sha256(text)}
    print_json(found) if as_json else print_lines([str(found["sha256"])])


@group.command("check")
@recipe_argument
@click.option("--text", metavar="FILE|URL", help="Compare this text with the pinned hash.")
@set_option
@json_option
def check(recipe: str, text: str | None, overrides: tuple[str, ...], as_json: bool) -> int:
    """Say what holds for the teacher of RECIPE. Exit code 1 if --text is not the pinned one."""
    from distill.harvest_stage import finding_of, writers_of
    from distill.recipe_file import load_recipe
    from traces.licence import notes
    from traces.licence_text import fetch, sha256

    loaded = load_recipe(recipe, overrides=overrides, check_files=False)
    finding = finding_of(loaded.recipe.teacher, writers_of(loaded))
    if finding is None:
        print_json(None) if as_json else print_lines(["no model is asked: nothing to licence"])
        return 0
    found = sha256(fetch(text)) if text is not None else None
    same = found is None or found == finding.sha256
    if as_json:
        print_json({"finding": finding, "text_sha256": found, "same": same})
    else:
        print_lines(notes(finding))
        if found is not None:
            pinned = finding.sha256 or "nothing"
            state = "is the pinned text" if same else f"is not the pinned text: {pinned} is pinned"
            print_lines([f"{text}: sha256 {found} {state}"])
    return 0 if same else 1
