"""`distill traces`: stores of traces, in and out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .measure import measure
from .options import json_option
from .output import indented, print_json, print_lines

if TYPE_CHECKING:
    from traces.record import Decision, Fidelity, Trace, Verdict

FILE = click.Path(path_type=Path, dir_okay=False)
STORE = click.Path(path_type=Path)


@click.group("traces")
def group() -> None:
    """Import, export, count and show traces.

    STORE is a traces.sqlite, or the directory of a run.
    """


group.add_command(measure)


@group.command("import", short_help="Read an export, or logs of conversations, into a store.")
@click.argument("source", metavar="FILE", type=FILE)
@click.argument("store", metavar="STORE", type=FILE)
@click.option(
    "--format",
    "form",
    type=click.Choice(
        ["traces", "openai", "sharegpt", "anthropic", "responses", "swe-agent", "openhands"]
    ),
    default="traces",
    help="What FILE is: an export, or a log of conversations.",
)
@click.option("--model", default="unknown", help="Who wrote the log's answers.")
@click.option("--licence", default="", help="Licence of the outputs of that model.")
@click.option(
    "--fidelity",
    type=click.Choice(["full", "summary", "hidden"]),
    help="How whole the log's reasoning is; the format decides if unset.",
)
@json_option
def import_(
    source: Path,
    store: Path,
    form: str,
    model: str,
    licence: str,
    fidelity: Fidelity | None,
    as_json: bool,
) -> None:
    """Read traces from FILE (.jsonl or .parquet, as `export` writes) into STORE.

    Of a log each turn of the assistant becomes a trace, whose prompt is all that came before it.
    """
    from traces.talk_import import import_talks, likely_format
    from traces.transfer import import_traces

    if form == "traces":
        if likely := likely_format(source):
            raise click.UsageError(f"{source} is no export: its rows look like --format {likely}")
        _counts(import_traces(source, store), as_json)
        return
    found = import_talks(source, store, form=form, model=model, licence=licence, fidelity=fidelity)
    _counts(found, as_json)


@group.command("export", short_help="Write traces to a .jsonl or .parquet file.")
@click.argument("store", metavar="STORE", type=STORE)
@click.argument("target", metavar="FILE", type=FILE)
@click.option("--all", "every", is_flag=True, help="Every attempt, not only the latest.")
@click.option("--messages", is_flag=True, help="Conversations for other tools; ok traces only.")
@click.option("--logs", is_flag=True, help="Imported logs, put together again as chat messages.")
@json_option
def export(
    store: Path, target: Path, every: bool, messages: bool, logs: bool, as_json: bool
) -> None:
    """Write the traces of STORE to FILE, .jsonl or .parquet by its name."""
    from traces.talk_import import export_talks
    from traces.transfer import export_conversations, export_traces

    if every + messages + logs > 1:
        raise click.UsageError("--all, --messages and --logs are three kinds of export: give one")
    if logs:
        _counts(export_talks(_store(store), target), as_json)
    elif messages:
        _counts(export_conversations(_store(store), target), as_json)
    else:
        what = "all" if every else "latest"
        _counts(export_traces(_store(store), target, what=what), as_json)


@group.command("resplit", short_help="Split the raw texts again, with this version.")
@click.argument("store", metavar="STORE", type=STORE)
@click.option("--dry-run", is_flag=True, help="Count what would change; write nothing.")
@json_option
def resplit_(store: Path, dry_run: bool, as_json: bool) -> None:
    """Split the raw texts of STORE again, with the splitter of this version.

    A trace that comes out otherwise gets a new attempt; the old one stays.
    """
    from traces.resplit import resplit

    _counts(resplit(_store(store), dry_run=dry_run), as_json)


@group.command("salvage", short_help="Copy what is whole out of a damaged store.")
@click.argument("store", metavar="STORE", type=STORE)
@click.argument("target", metavar="NEW", type=FILE)
@json_option
def salvage(store: Path, target: Path, as_json: bool) -> None:
    """Copy what is whole in a damaged STORE into the store NEW, and name what is lost."""
    from traces import salvage as salvaging

    _counts(salvaging.salvage(_store(store), target), as_json)


@group.command("stats", short_help="Count statuses, finish reasons, tokens, teachers.")
@click.argument("store", metavar="STORE", type=STORE)
@json_option
def stats(store: Path, as_json: bool) -> None:
    """Count the traces of STORE: statuses, finish reasons, tokens, teachers."""
    from traces.summary import store_stats

    found = store_stats(_store(store))
    if as_json:
        print_json(found)
    else:
        print_lines(indented(found))


@group.command("show")
@click.argument("store", metavar="STORE", type=STORE)
@click.argument("key", metavar="KEY")
@json_option
def show(store: Path, key: str, as_json: bool) -> None:
    """Print one trace of STORE, by its KEY or the start of it."""
    show_trace(_store(store), key, as_json, store if store.is_dir() else None)


def show_trace(store: Path, key: str, as_json: bool, run_dir: Path | None) -> None:
    """Print a trace with what became of it in `run_dir`."""
    from distill.visible import visible
    from traces.summary import find_trace

    prompt, trace = find_trace(store, key)
    verdicts, decisions = _afterwards(run_dir, trace.key)
    if as_json:
        fates = {"verdicts": verdicts, "decisions": decisions}
        print_json({"prompt": prompt, "trace": trace, **fates})
        return
    head = [f"key       {trace.key}", f"status    {trace.status}"]
    question = "\n".join(f"[{m.role}] {m.content}" for m in prompt.messages)
    reference = prompt.reference.answer if prompt.reference else ""
    parts = {
        "prompt": question,
        "reference": reference,
        "reasoning": trace.reasoning,
        "answer": trace.answer,
    }
    body = [line for name, text in parts.items() if text for line in ("", f"--- {name}", text)]
    print_lines([*head, *_fate(trace, verdicts, decisions), *map(visible, body)])


def _fate(trace: Trace, verdicts: list[Verdict], decisions: list[Decision]) -> list[str]:
    from distill.visible import visible

    lines = [f"tokens    {trace.usage.completion} ({trace.usage.source})"]
    for v in verdicts:
        read = f"read {v.extracted!r}" if v.extracted and v.outcome != "right" else ""
        why = "".join(f", {part}" for part in (read, v.reason) if part)
        lines.append(visible(f"{v.aspect:<9} {v.outcome} by {v.verifier}{why}"))
    for d in decisions:
        why = "" if d.kept else f" by {d.rule}: {d.value} against {d.threshold}"
        lines.append(f"decision  {'kept' if d.kept else 'dropped'}{why}")
    return lines


def _afterwards(run_dir: Path | None, key: str) -> tuple[list[Verdict], list[Decision]]:
    import msgspec

    from traces.record import Decision, Verdict

    def rows(name: str) -> list[bytes]:
        path = run_dir / name if run_dir else None
        lines = path.read_bytes().splitlines() if path and path.exists() else []
        return [line for line in lines if key.encode() in line]

    verdicts = [msgspec.json.decode(r, type=Verdict) for r in rows("verify/verdicts.jsonl")]
    decisions = [msgspec.json.decode(r, type=Decision) for r in rows("curate/decisions.jsonl")]
    return verdicts, decisions


def _store(path: Path) -> Path:
    if not path.is_dir():
        return path
    store = path / "harvest" / "traces.sqlite"
    if store.exists():
        return store
    from traces.errors import DataError

    runs = sorted(str(found.parent.parent) for found in Path().glob("runs/*/harvest/traces.sqlite"))
    known = f"; runs are: {', '.join(runs[:5])}" if runs else ""
    raise DataError(
        f"{path}: holds no harvest/traces.sqlite",
        f"give a traces.sqlite, or the directory of a run{known}",
    )


def _counts(counts: object, as_json: bool) -> None:
    print_json(counts) if as_json else print_lines(indented(counts))
