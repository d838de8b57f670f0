from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from distill.cli import main
from distill.cli import recipes as recipe_commands
from distill.cli.main import TABLE
from traces import errors

Distill = Callable[..., Any]


@pytest.mark.parametrize(
    ("args", "err"),
    [
        (
            ["rnu"],
            "error: no such command 'rnu'; did you mean 'run'?\nhint: see `distill --help`\n",
        ),
        (
            ["zzz"],
            "error: no such command 'zzz'; one of init, check, run, harvest, questions, curate, "
            "score, train, evaluate, ablate, report, inspect, traces, licence, verify, dedup, "
            "decontaminate, recipes, doctor\n"
            "hint: see `distill --help`\n",
        ),
        (
            ["run", "x", "--sed", "1"],
            "error: no such option '--sed'; did you mean '--seed'?\n"
            "hint: see `distill run --help`\n",
        ),
        (["run"], "error: missing argument 'RECIPE'\nhint: see `distill run --help`\n"),
        (
            ["inspect", "x", "--trace"],
            "error: option '--trace' requires an argument\nhint: see `distill inspect --help`\n",
        ),
        (
            ["run", "x", "--seed", "one"],
            "error: invalid value for '--seed': 'one' is not a valid integer\n"
            "hint: see `distill run --help`\n",
        ),
    ],
)
def test_a_mistyped_command_gets_the_nearest_one(
    distill: Distill, args: list[str], err: str
) -> None:
    assert distill(*args) == (2, "", err)


@pytest.mark.parametrize("name", TABLE)
def test_each_command_explains_itself(distill: Distill, name: str) -> None:
    code, out, err = distill(name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: distill {name} ")


def test_help_lists_every_command_with_a_line(distill: Distill) -> None:
    out = distill("--help").out
    assert all(f"  {name} " in out and line in out for name, (_, line) in TABLE.items())


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def callback(**_: object) -> None:
        raise error

    monkeypatch.setattr(recipe_commands.schema, "callback", callback)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.DistillError, 1),
        (errors.RecipeError, 2),
        (errors.DataError, 2),
        (errors.TeacherError, 2),
        (errors.MissingDependencyError, 2),
        (errors.CountError, 1),
        (errors.RowCheckError, 2),
        (errors.GateError, 1),
        (errors.PartialError, 3),
        (errors.Interrupted, 130),
    ],
)
def test_our_errors_are_two_lines_and_their_exit_code(
    distill: Distill, monkeypatch: pytest.MonkeyPatch, kind: type[errors.DistillError], code: int
) -> None:
    fail_with(monkeypatch, kind("what is wrong", "what to do"))
    assert distill("recipes", "schema") == (
        code,
        "",
        "error: what is wrong\nhint: what to do\n",
    )


@pytest.mark.parametrize(
    ("error", "code", "err"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/x/y"),
            3,
            "error: no space left on the disk: /x/y\n"
            "hint: free some space; the same command resumes\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/.my.html.123.tmp"),
            2,
            "error: /x/my.html: Permission denied\n"
            "hint: choose a place that can be read and written\n",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x/y"),
            2,
            "error: /x/y: Permission denied\n"
            "hint: choose a place that can be read and written\n",
        ),
        (
            ModuleNotFoundError("No module named 'trl'", name="trl"),
            2,
            "error: this needs trl, which is not installed\n"
            "hint: pip install 'trace-distill[train]'\n",
        ),
        (
            KeyboardInterrupt(),
            130,
            "\nerror: interrupted\nhint: nothing is saved: the same command begins anew\n",
        ),
    ],
)  # fmt: skip
def test_what_the_user_can_mend_has_no_traceback(
    distill: Distill,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    err: str,
) -> None:
    fail_with(monkeypatch, error)
    assert distill("recipes", "schema") == (code, "", err)


@pytest.mark.parametrize(("args", "saves"), [
    (["run", "r.yaml"], True), (["dedup", "a.jsonl"], False), (["verify", "a.jsonl"], False),
    (["dedup", "a.jsonl", "--work", "w"], True), (["dedup", "a.jsonl", "--work=w"], True),
    (["dedup", "a.jsonl", "--workers=2"], False), ([], False),
    (["traces", "import", "a.jsonl", "s.sqlite"], True), (["traces", "stats", "run"], False),
])  # fmt: skip
def test_only_a_command_that_saves_is_said_to_go_on(args: list[str], saves: bool) -> None:
    assert main._saves(args) is saves


@pytest.mark.parametrize("name", ["traces", "licence", "recipes"])
def test_no_line_of_help_is_cut_off(distill: Distill, name: str) -> None:
    assert "..." not in distill(name, "--help").out.partition("Commands:")[2]


def test_a_bug_shows_its_traceback_and_says_that_it_is_one(
    distill: Distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("by zero"))
    code, out, err = distill("recipes", "schema")
    assert (code, out) == (1, "")
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("error: this is a bug in distill: ZeroDivisionError: by zero\n")


def test_a_reader_who_leaves_early_is_no_error() -> None:
    script = (
        "import sys; from distill.cli import recipes; from distill.cli.main import main\n"
        "recipes.schema.callback = lambda: print('x\\n' * 500_000)\n"
        "sys.exit(main(['recipes', 'schema']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(2)
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (1, b"")


LOADED = "print('loaded:', *({} & {{name.split('.')[0] for name in sys.modules}}))"


def imported(args: list[str], names: set[str]) -> str:
    script = (
        "import sys; from distill.cli.main import main\n"
        f"code = main({args!r})\n{LOADED.format(names)}\nsys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()[-1]


def test_help_imports_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "numpy", "pydantic", "rich", "yaml", "aiohttp", "numba"}
    assert imported(["--help"], heavy) == "loaded:"


def test_counting_traces_needs_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("traces.summary", reason="needs traces.summary")
    from traces.store import TraceStore

    TraceStore.open(tmp_path / "traces.sqlite").close()
    heavy = {"torch", "transformers"}
    assert imported(["traces", "stats", str(tmp_path / "traces.sqlite")], heavy) == "loaded:"
