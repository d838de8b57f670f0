"""Entry point of the `distill` command: the table of commands, and errors into exit codes.

Nothing heavy is imported here: `distill --help` costs what click costs.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

import click

from .failures import explain
from .lazy import LazyGroup

TABLE = {
    "init": ("init.init", "Write a commented recipe and example prompts to edit."),
    "check": ("check.check", "Look for all that would stop a run, without running it."),
    "run": ("stages.run", "Do all a recipe says, from prompts to the report."),
    "harvest": ("stages.harvest", "Ask the teacher; keep every reply as a trace."),
    "questions": ("questions.questions", "Have a teacher write questions about your documents."),
    "curate": ("stages.curate", "Harvest and verify, then decide which traces are kept."),
    "score": ("score.score", "Store a local model's distributions over traces of text."),
    "train": ("stages.train", "Curate, build the training rows and train the student."),
    "evaluate": ("stages.evaluate", "Train, then compare base, teacher and student."),
    "ablate": ("ablate.ablate", "Train the student behind different filters, and compare."),
    "report": ("results.report", "Build the report of a run again."),
    "inspect": ("results.inspect", "Look at training rows, their masks, or one trace of a run."),
    "traces": ("traces.group", "Import, export, count and show traces."),
    "licence": ("licence.group", "What licences say of a teacher's outputs; hash their texts."),
    "verify": ("verify.verify", "Judge the answers of a file: right, wrong or unknown."),
    "dedup": ("filters.dedup", "Find exact and near duplicates in a file."),
    "decontaminate": ("filters.decontaminate", "Find evaluation questions in a file."),
    "recipes": ("recipes.group", "List and show packaged recipes, and the recipe schema."),
    "doctor": ("check.doctor", "Say what this machine has, lacks, and will use."),
}

SAVING = frozenset(
    {"run", "harvest", "questions", "curate", "score", "train", "evaluate", "ablate"}
    | {"traces import", "traces resplit", "traces measure"}
)
"""Commands that go on from what is saved."""

cli = LazyGroup(
    "distill", TABLE, "Turn a large teacher's reasoning into a small model of your own."
)
click.version_option(package_name="trace-distill", prog_name="distill")(cli)


def main(args: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code (see `traces.errors` for what each one means)."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _terminate)
    try:
        code = cli.main(args, prog_name="distill", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except SystemExit as exit_:  # click's way out of a broken pipe
        return exit_.code if isinstance(exit_.code, int) else 1
    except BaseException as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        return explain(error, saves=_saves(sys.argv[1:] if args is None else args))


def _saves(args: Sequence[str]) -> bool:
    """Whether what a command did before it was interrupted helps the same command."""
    if any(arg.partition("=")[0] == "--work" for arg in args):
        return True
    return not SAVING.isdisjoint((" ".join(args[:1]), " ".join(args[:2])))


def _terminate(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
