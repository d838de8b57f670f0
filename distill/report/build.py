"""Write `report.html`: one file, no script, no reference to anything outside it.

Text of a model is untrusted. The page escapes every value, shows hidden characters, and carries a
content security policy that forbids everything but its own style sheet, named by its hash.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from distill.artifacts import EvaluationSummary, Gain, RowReport, TrainPoint
from distill.report import charts, text
from distill.report.files import RunFiles, read_run
from distill.run import write_atomically
from traces.curate.funnel import Funnel

HERE = Path(__file__).parent
FILTERS = (
    text.block,
    text.interval,
    text.interval_points,
    text.masked,
    text.moment,
    text.number,
    text.percent,
    text.points,
    text.seconds,
    text.size,
)
MODELS = ("base", "teacher", "student")


def build_report(run_dir: Path) -> Path:
    """Write `run_dir/report.html` from what the run has so far and return its path.

    Raises:
        DataError: `run_dir` holds no run, or one of its files is broken.
    """
    path = run_dir / "report.html"
    write_atomically(path, render(read_run(run_dir)).encode())
    return path


def render(run: RunFiles) -> str:
    """The page."""
    style = (HERE / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    student = run.recipe.get("student")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            style=Markup(style),
            style_hash=digest,
            student_model=student.get("model") if isinstance(student, dict) else None,
            description=run.recipe.get("description") or "",
            models=_models(run.summary),
            headline=headline(run.summary),
            score_chart=_score_chart(run.summary),
            gain_chart=_gain_chart(run.summary),
            funnel=_funnel(run.funnel, run.dataset),
            loss_chart=charts.loss_curve(
                run.points, run.training.best_step if run.training else None
            ),
            loss_parts=loss_parts(run.points),
            total_seconds=sum(stage.seconds for stage in run.manifest.stages.values()),
        )
    )


def loss_parts(points: Sequence[TrainPoint]) -> list[tuple[str, float, float]]:
    """Name, first and last value of the parts that the training loss was logged in."""
    named = (("Cross-entropy", "ce_loss"), ("Divergence from the teacher", "kd_loss"))
    found = []
    for name, field in named:
        values = [value for point in points if (value := getattr(point, field)) is not None]
        if values:
            found.append((name, values[0], values[-1]))
    return found


def headline(summary: EvaluationSummary | None) -> Gain | None:
    """The student's gain over the base on the extraction where it is smaller."""
    gains = [gain for gain in summary.gains if gain.over == "base"] if summary else []
    return min(gains, key=lambda gain: gain.difference.value) if gains else None


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=text.finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({filter_.__name__: filter_ for filter_ in FILTERS})
    return environment


def _models(summary: EvaluationSummary | None) -> list[str]:
    """Names of the scored models, the familiar ones first."""
    names = list(summary.models) if summary else []
    return [name for name in MODELS if name in names] + sorted(set(names) - set(MODELS))


def _score_chart(summary: EvaluationSummary | None) -> Markup:
    if summary is None:
        return Markup("")
    lines = []
    for model in _models(summary):
        score = summary.models[model]
        kind = model if model in MODELS else "base"
        marks = [
            charts.Mark(f"{model}, strict", f"{kind} strict", score.strict),
            charts.Mark(f"{model}, lenient", f"{kind} lenient", score.lenient),
        ]
        said = f"{100 * score.strict.value:.1f} · {100 * score.lenient.value:.1f} %"
        lines.append(charts.Line(model, said, marks))
    label = "pass@1 of each model with its 95 % interval; the table below holds the numbers"
    return charts.interval_chart(lines, (0, 0.25, 0.5, 0.75, 1), label)


def _gain_chart(summary: EvaluationSummary | None) -> Markup:
    gains = summary.gains if summary else []
    if not gains:
        return Markup("")
    lines = []
    for over in dict.fromkeys(gain.over for gain in gains):
        marks = [
            charts.Mark(
                f"over {over}, {gain.extraction}", f"student {gain.extraction}", gain.difference
            )
            for gain in gains
            if gain.over == over
        ]
        said = " · ".join(str(text.points(mark.interval.value)) for mark in marks)
        lines.append(charts.Line(f"student − {over}", said, marks))  # noqa: RUF001
    least = min(gain.difference.low for gain in gains)
    most = max(gain.difference.high for gain in gains)
    ticks = [tick / 4 for tick in range(-4, 5) if least * 4 - 1 < tick < most * 4 + 1]
    label = "paired differences of pass@1 in points; the table below holds the numbers"
    return charts.interval_chart(lines, ticks, label)


def _funnel(funnel: Funnel | None, dataset: RowReport | None) -> list[dict[str, Any]]:
    """Lines of the funnel table: what each step took and what it left, with a bar."""
    if funnel is None:
        return []
    total = max(1, funnel.harvested)

    def end(step: str, count: int, kind: str) -> dict[str, Any]:
        return {
            "step": step,
            "count": count,
            "left": count,
            "bar": charts.bar(0, count / total, kind),
        }

    def drops(left: int, dropped: Iterable[tuple[str, int]]) -> Iterator[dict[str, Any]]:
        for step, count in dropped:
            left -= count
            bar = charts.bar(max(0, left) / total, count / total, "drop")
            yield {"step": step, "count": -count, "left": left, "bar": bar}

    lines = [end("harvested", funnel.harvested, "all"), *drops(funnel.harvested, funnel.dropped)]
    lines.append(end("kept", funnel.kept, "keep"))
    if dataset:
        reasons = [(f"row: {reason}", count) for reason, count in dataset.dropped.items()]
        lines += drops(funnel.kept, reasons)
        lines.append(end("training rows", dataset.rows, "keep"))
    return lines
