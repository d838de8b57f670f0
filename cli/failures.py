"""What the user reads when a command fails, and the exit code that goes with it."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from difflib import get_close_matches

import click

from traces.errors import DistillError

from . import log

INTERRUPTED = 130
USER_ERRNOS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG}
    | {errno.EEXIST}
)
TRAIN_EXTRA = frozenset(
    {"accelerate", "bitsandbytes", "datasets", "gguf", "peft", "safetensors"}
    | {"torch", "transformers", "trl"}
)
TEMPORARY = re.compile(r"\.([^/]+)\.\d+\.tmp$")
"""What a file is called until it is whole."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def explain(error: BaseException, *, saves: bool = False) -> int:
    """Print `error` on stderr for its reader and return the exit code it means.

    `saves` says whether the interrupted command leaves something for the same command.
    """
    if isinstance(error, DistillError):
        return _distill(error)
    if isinstance(error, click.ClickException):
        return _usage(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        goes_on = "the same command goes on from what is saved"
        say("interrupted", goes_on if saves else "nothing is saved: the same command begins anew")
        return INTERRUPTED
    if _disk_is_full(error):
        place = f": {error.filename}" if isinstance(error, OSError) and error.filename else ""
        say(f"no space left on the disk{place}", "free some space; the same command resumes")
        return 3
    if isinstance(error, OSError) and error.errno in USER_ERRNOS:
        name = TEMPORARY.sub(r"\1", str(error.filename))
        say(f"{name}: {error.strerror}", "choose a place that can be read and written")
        return 2
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in TRAIN_EXTRA:
        say(
            f"this needs {error.name}, which is not installed", "pip install 'trace-distill[train]'"
        )
        return 2
    return _bug(error)


def _disk_is_full(error: BaseException) -> bool:
    """Also where a library wraps the system's error in its own, as safetensors and torch do."""
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return True
    return os.strerror(errno.ENOSPC) in str(error) or log.disk_is_full()


def say(message: str, hint: str = "") -> None:
    """`error: message` for each line of the message, then `hint: hint`, on stderr."""
    lines = [f"error: {line}" for line in message.splitlines()]
    if hint:
        lines.append(f"hint: {hint}")
    print("\n".join(lines), file=sys.stderr)


def _distill(error: DistillError) -> int:
    say(error.message, error.hint)
    log.write(f"error: {error}")
    return error.exit_code


def _usage(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "distill"
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
    elif isinstance(error, click.NoSuchOption):
        known = [name for p in context.command.params for name in p.opts] if context else []
        close = get_close_matches(error.option_name, known, 1, 0.5)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        say(f"no such option {error.option_name!r}{guess}", f"see `{command} --help`")
    else:
        message = error.format_message().rstrip(".")
        say(message[:1].lower() + message[1:], f"see `{command} --help`")
    return 2


def _bug(error: BaseException) -> int:
    trace = "".join(traceback.format_exception(error))
    path = log.write(trace)
    print(trace, file=sys.stderr, end="")
    kept = f"; the log is {path}" if path else ""
    say(f"this is a bug in distill: {type(error).__name__}: {error}{kept}")
    return 1
