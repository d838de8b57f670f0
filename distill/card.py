"""The student's model card: what it was made of, what that obliges to, how it scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from distill.artifacts import EvaluationSummary, Interval, Manifest, RowReport, TrainReport
from distill.run import read_struct, write_atomically
from traces.curate.funnel import Funnel
from traces.licence import Finding, Obligation, find_licence

CARD = "train/student/README.md"


def write_card(root: Path) -> Path | None:
    """Write the card of the run at `root` beside its student; None where there is no student.

    It is made from the run's own files alone, so it can be written again at any time; scores are in
    it once the evaluation is done.
    """
    if not (root / "train/student").is_dir():
        return None
    path = root / CARD
    write_atomically(path, render_card(root).encode())
    return path


def render_card(root: Path) -> str:
    """The card as Markdown, with the YAML head that model hubs read."""
    manifest = read_struct(root / "manifest.json", Manifest)
    recipe = _recipe(root)
    base = find_licence(str(recipe["student"]["model"]))
    findings = [found for found in (manifest.licence, *manifest.other_licences) if found]
    duties = obligations([*findings, base])
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown
    )
    environment.filters["percent"] = percent
    return environment.get_template("card.md.j2").render(
        name=card_name(manifest.name, duties),
        manifest=manifest,
        recipe=recipe,
        base=base,
        findings=findings,
        duties=duties,
        funnel=_read(root / "curate/funnel.json", Funnel),
        rows=_read(root / "dataset/report.json", RowReport),
        training=_read(root / "train/report.json", TrainReport),
        summary=_read(root / "evaluate/summary.json", EvaluationSummary),
    )


def obligations(findings: list[Finding]) -> list[Obligation]:
    """The union of what all of them oblige to, each once, in order."""
    return list(dict.fromkeys(duty for found in findings for duty in found.obligations))


def card_name(name: str, duties: list[Obligation]) -> str:
    """`name`, beginning with what a licence wants it to begin with."""
    for duty in duties:
        if duty.kind == "name_prefix" and not name.lower().startswith(duty.value.lower()):
            name = f"{duty.value}-{name}"
    return name


def percent(interval: Interval, signed: bool = False) -> str:
    """`97.0 % [92.0, 99.0]`."""
    sign = "+" if signed else ""
    low, value, high = (100 * x for x in (interval.low, interval.value, interval.high))
    return f"{value:{sign}.1f} % [{low:{sign}.1f}, {high:{sign}.1f}]"


def _recipe(root: Path) -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((root / "recipe.yaml").read_text("utf-8"))
    return found


def _read(path: Path, kind: type[Any]) -> Any:
    return read_struct(path, kind) if path.exists() else None
