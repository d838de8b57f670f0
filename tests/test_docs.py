"""Every console block of docs/ that is marked runnable does what the page shows."""

from __future__ import annotations

import doctest
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"
CONSOLE = re.compile(r"^```console runnable\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^```yaml (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = sorted(path.name for path in DOCS.glob("*.md") if CONSOLE.search(path.read_text("utf-8")))


def commands(page: str) -> Iterator[tuple[str, str]]:
    """Each command of a page with the output that the page shows below it."""
    for block in CONSOLE.findall((DOCS / page).read_text("utf-8")):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            yield command, output


def test_some_pages_hold_commands() -> None:
    assert len(PAGES) >= 6


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_do_what_it_shows(
    page: str,
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("tiny").symlink_to(tiny_model)
    for name, text in FILE.findall((DOCS / "recipes.md").read_text("utf-8")):
        Path(name).write_text(text)
    main = next(iter(entry_points(group="console_scripts", name="distill"))).load()
    for command, shown in commands(page):
        program, *args = shlex.split(command)
        assert program == "distill"
        code = main(args)
        found = capsys.readouterr()
        assert code == 0, f"{command}: {found.err}"
        got = found.err + found.out
        checker = doctest.OutputChecker()
        assert checker.check_output(shown, got, doctest.ELLIPSIS), f"{command}:\n{got}"


def test_the_pages_name_only_files_that_are_there() -> None:
    for path in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_every_fault_names_tests_that_are_there() -> None:
    page = (DOCS / "faults.md").read_text("utf-8")
    named = re.findall(r"`(tests/[^`]+\.py)::(test_\w+)`", page)
    assert len(named) > 40
    for path, name in named:
        source = (DOCS.parent / path).read_text("utf-8")
        assert re.search(rf"^def {name}\(", source, re.MULTILINE), f"{path}: {name}"
