"""`distill verify`: judge the answers of a file, and audit the verdicts."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import click

from .lines import print_row, tally
from .options import json_option
from .output import aligned, print_json, print_lines

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("verify")
@click.argument("path", metavar="FILE", required=False, type=_FILE)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Processes that compare formulas.",
)
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="CPU seconds that one comparison of formulas may take; beyond them it is unknown.",
)
@click.option(
    "--audit", type=_FILE, help="Also write a sample of the verdicts here, a new file, to label."
)
@click.option(
    "--audit-size",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Verdicts in the sample.",
)
@click.option("--seed", default=0, show_default=True, help="Of the sample.")
@click.option(
    "--audit-report", type=_FILE, help="Say how good the verdicts of a labelled sample are."
)
@json_option
def verify(
    path: Path | None,
    workers: int,
    timeout_s: float,
    audit: Path | None,
    audit_size: int,
    seed: int,
    audit_report: Path | None,
    as_json: bool,
) -> None:
    r"""Judge the answers in FILE, one JSON line per row: verdict, tier, reason, extracted.

    Rows are {"kind", "question", "gold", "response"}. Kinds: math, science, mcq or choice (with
    "choices", an object from label to text), text, code, legal. The answer of a response is what
    its last \boxed{} holds or a line such as "Answer: 72" names; thinking in <think> is not read.
    A broken row is unknown, and exit code 2 at the end names it.

    With --audit a sample is written, stratified by verdict and tier. Set each "label" to right,
    wrong or unsure, then `distill verify --audit-report SAMPLE` prints precision and recall.
    """
    if audit_report is not None and (path is not None or audit is not None):
        raise click.UsageError("--audit-report reads a labelled sample alone, without FILE")
    if audit_report is not None:
        _report(audit_report, as_json)
    elif path is None:
        raise click.UsageError("no FILE is given, nor --audit-report")
    else:
        _judge(path, workers, timeout_s, audit, audit_size, seed)


def _judge(
    path: Path, workers: int, timeout_s: float, audit: Path | None, audit_size: int, seed: int
) -> None:
    from traces.errors import DataError
    from traces.jsonio import Faults, write_jsonl
    from traces.verify.audit import Sampler
    from traces.verify.rows import verify_rows

    if audit and audit.exists():
        raise DataError(f"{audit}: is there already", "it may hold labels: name another file")
    if audit:
        audit.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(audit.parent, os.W_OK):
            raise DataError(f"{audit}: its folder cannot be written", "name another file")
    faults, counts, sampler = Faults(), Counter[str](), Sampler(audit_size, seed)
    for number, judged in enumerate(verify_rows(path, workers=workers, timeout_s=timeout_s)):
        check = judged.check
        counts[check.outcome] += 1
        if judged.fault:
            faults.add(*judged.fault)
        elif audit and judged.row is not None:
            sampler.add(number, judged.row, check)
        rung = check.verifier.partition("/")[2]  # of the isolation that a program ran in
        print_row(
            {
                "verdict": check.outcome,
                "tier": f"{check.tier}/{rung}" if rung else check.tier,
                "reason": check.reason,
                "extracted": check.extracted,
            }
        )
    tally({name: counts[name] for name in ("right", "wrong", "unknown")})
    if audit:
        count = write_jsonl(audit, sampler.rows())
        click.echo(f"{count} verdicts to label: {audit}", err=True)
    faults.raise_if_any("broken rows", "the other rows are judged")


def _report(path: Path, as_json: bool) -> None:
    from traces.verify.audit import Share, report

    found = report(path)
    if as_json:
        shares = {k: v._asdict() if isinstance(v, Share) else v for k, v in found._asdict().items()}
        print_json(shares)
        return
    print_lines([f"labelled: {found.labelled}, left out: {found.left_out}"])
    rows = [["", "share", "95 % interval", "labels"]]
    for name, part in found._asdict().items():
        if isinstance(part, Share):
            value = "-" if part.value is None else f"{100 * part.value:.1f} %"
            interval = f"[{100 * part.low:.1f}, {100 * part.high:.1f}]"
            rows.append([name.replace("_", " "), value, interval, str(part.of)])
    print_lines(aligned(rows))
