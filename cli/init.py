"""`distill init`: a recipe and example prompts to edit."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

SOURCE = "openai-compatible"
FILES = ("prompts.jsonl", "heldout.jsonl")


@click.command("init")
@click.argument(
    "folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path, file_okay=False)
)
def init(folder: Path) -> None:
    """Write recipe.yaml, prompts.jsonl and heldout.jsonl into DIR (default: here).

    The recipe asks any OpenAI-compatible endpoint and is commented so that you can edit it.
    Nothing that exists is overwritten.
    """
    from distill.assets import asset
    from distill.run import write_atomically
    from traces.errors import DataError

    text = asset(f"recipes/{SOURCE}.yaml").read_text("utf-8").replace(f"{SOURCE}/", "")
    contents = {"recipe.yaml": text.encode()}
    contents |= {name: asset(f"recipes/{SOURCE}/{name}").read_bytes() for name in FILES}
    for name in contents:
        if (folder / name).exists():
            raise DataError(
                f"{folder / name} exists and is left alone",
                "name another folder: distill init DIR",
            )
    for name, payload in contents.items():
        write_atomically(folder / name, payload)
        click.echo(f"wrote {folder / name}")
    click.echo(f"edit them, then: distill check {shlex.quote(str(folder / 'recipe.yaml'))}")
