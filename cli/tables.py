"""What the commands print: scores, funnel, forecast, as plain aligned text."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import aligned

if TYPE_CHECKING:
    from distill.artifacts import EvaluationSummary, Interval, Manifest, RowReport
    from distill.forecast import Forecast


def result_lines(root: Path, summary: EvaluationSummary | None, upto: str = "report") -> list[str]:
    """The end of a run: who taught, what was kept, how well the student does, where to look.

    What lies there of stages after `upto` may be of an earlier recipe and is not shown.
    """
    found = [teacher_line(root), sets_line(root)]
    found.append(traces_line(root) if upto == "harvest" else "")
    found.append(
        funnel_line(root, rows=_reached("dataset", upto)) if _reached("curate", upto) else ""
    )
    lines = [line for line in found if line]
    if summary is not None:
        lines += ["", *score_lines(summary), "", *gain_lines(summary)]
        lines += [f"note: {note}" for note in summary.notes]
    report = _report(root, upto)
    return [*lines, f"report: {report}" if report else f"run: {root}"]


def result_json(
    root: Path, summary: EvaluationSummary | None, failed_gates: list[str], upto: str = "report"
) -> dict[str, Any]:
    """The same as data."""
    manifest = _manifest(root)
    report = _report(root, upto)
    stages = manifest.stages if manifest else {}
    return {
        "run": str(root),
        "report": str(report) if report else None,
        "stages": {name: stage for name, stage in stages.items() if _reached(name, upto)},
        "teacher": manifest.teacher if manifest else None,
        "funnel": _funnel(root) if _reached("curate", upto) else None,
        "summary": summary,
        "failed_gates": failed_gates,
    }


def teacher_line(root: Path) -> str:
    """Who the teacher is and what it is made of."""
    manifest = _manifest(root)
    if manifest is None or manifest.teacher is None:
        return ""
    teacher = manifest.teacher
    made_of = f", made of {teacher.made_of}" if teacher.made_of else ""
    return f"teacher: {teacher.model} ({teacher.kind}){made_of}"


def sets_line(root: Path) -> str:
    """How many questions each set has, and that none is in both."""
    manifest = _manifest(root)
    if manifest is None or "prompts" not in manifest.stages:
        return ""
    counts = manifest.stages["prompts"].counts
    return (
        f"questions: {counts['training']} training, {counts['held_out']} held out, "
        f"{counts['in_both']} in both (checked)"
    )


def traces_line(root: Path) -> str:
    """`traces: 800 requested = 144 there before + 621 ok + 35 truncated`, of the last harvest."""
    manifest = _manifest(root)
    if manifest is None or "harvest" not in manifest.stages:
        return ""
    counts = manifest.stages["harvest"].counts
    parts = {"there before": counts["reused"], **counts["by_status"]}
    parts |= {"not needed": counts["spared"], "not asked": counts["not_asked"]}
    shown = " + ".join(f"{count} {name}" for name, count in parts.items() if count)
    return f"traces: {counts['requested']} requested = {shown or 0}"


def funnel_line(root: Path, *, rows: bool = True) -> str:
    """`funnel: 120 harvested - 4 truncated - 3 wrong_steps = 113 kept, 113 training rows`."""
    funnel = _funnel(root)
    if funnel is None:
        return ""
    drops = "".join(f" - {count} {rule}" for rule, count in funnel["dropped"] if count)
    report = _rows(root) if rows else None
    tail = f", {report.rows} training rows" if report else ""
    return f"funnel: {funnel['harvested']} harvested{drops} = {funnel['kept']} kept{tail}"


def score_lines(summary: EvaluationSummary) -> list[str]:
    """One row per model. pass@1 with its 95 % interval over problems."""
    rows = [["", "problems", "pass@1 strict", "pass@1 lenient", "truncated", "unclosed", "tokens"]]
    rows += [
        [
            model,
            f"{s.problems} x {s.samples}" if s.samples > 1 else str(s.problems),
            share(s.strict),
            share(s.lenient),
            f"{100 * s.truncated_share:.1f} %",
            f"{100 * s.unclosed_share:.1f} %",
            f"{s.mean_tokens:.0f}",
        ]
        for model, s in summary.models.items()
    ]
    return aligned(rows, frozenset({1, 4, 5, 6}))


def gain_lines(summary: EvaluationSummary) -> list[str]:
    """Paired differences in points, then the gate."""
    rows = [[f"{g.model} - {g.over}", g.extraction, points(g.difference)] for g in summary.gains]
    gate = [
        f"gate {'passed' if g.passed else 'FAILED'}: {g.demand} (reached {g.reached})"
        for g in summary.gate
    ]
    return (aligned(rows) if rows else []) + gate


def share(value: Interval) -> str:
    """`92.0 % [85.0, 95.9]`."""
    return f"{100 * value.value:.1f} % [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def points(value: Interval) -> str:
    """`+42.0 points [31.2, 51.8]`."""
    return f"{100 * value.value:+.1f} points [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"


def forecast_lines(found: Forecast) -> list[str]:
    """Each figure with what it is: counted, a bound, an estimate, or unknown."""
    rows = [[f.name, f.text(), f.basis, f.note] for f in found.figures]
    return aligned(rows) + [f"warning: {warning}" for warning in found.warnings]


def _reached(stage: str, upto: str) -> bool:
    from distill.artifacts import STAGES

    part_of = {"reworded": "curate", "score": "curate"}
    name = part_of.get(stage, stage.split()[0])  # such as "evaluate base"
    return STAGES.index(name) <= STAGES.index(upto)


def _report(root: Path, upto: str) -> Path | None:
    path = root / "report.html"
    return path if upto == "report" and path.exists() else None


def _manifest(root: Path) -> Manifest | None:
    from distill.artifacts import Manifest
    from distill.run import read_struct

    path = root / "manifest.json"
    return read_struct(path, Manifest) if path.exists() else None


def _rows(root: Path) -> RowReport | None:
    from distill.artifacts import RowReport
    from distill.run import read_struct

    path = root / "dataset" / "report.json"
    return read_struct(path, RowReport) if path.exists() else None


def _funnel(root: Path) -> dict[str, Any] | None:
    from distill.run import read_struct

    path = root / "curate" / "funnel.json"
    return read_struct(path, dict[str, Any]) if path.exists() else None
