"""The shape of the tree: who imports whom, what lies where, how long modules are."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from distill.recipe import Recipe, Section

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 300
TAKEN_BY_ANOTHER_TRACES = {
    "decorators",
    "eventseries",
    "histogram",
    "infinity",
    "operations",
    "plot",
    "sorted_dict",
    "timeseries",
    "utils",
}
"""Modules of the time-series package that is also called `traces`."""


def modules(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


SOURCES = modules("traces", "distill", "cli")


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[str]:
    """Absolute names of the modules a tree imports."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def starts_with(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_imports_point_down(path: Path) -> None:
    forbidden = ["cli", "distill.cli"]
    if path.is_relative_to(ROOT / "traces"):
        forbidden.append("distill")
    found = [name for name in imports(parsed(path)) if starts_with(name, *forbidden)]
    assert found == []


def outside_functions(tree: ast.Module) -> ast.Module:
    """The statements that run when a module is imported."""
    kept = [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    ]
    return ast.Module(kept, [])


def test_no_module_imports_itself_through_others() -> None:
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in modules("traces", "distill")
    }
    graph = {
        name: {
            found
            for found in imports(outside_functions(parsed(path)))
            if found in names and found != name
        }
        for name, path in names.items()
    }
    assert len(list(TopologicalSorter(graph).static_order())) == len(names)


@pytest.mark.parametrize("folder", ["cuda", "recipes"])
def test_leaves_hold_no_python(folder: str) -> None:
    assert modules(folder) == []


def test_no_module_of_ours_is_named_like_one_of_the_other_traces() -> None:
    assert TAKEN_BY_ANOTHER_TRACES.isdisjoint(path.stem for path in (ROOT / "traces").iterdir())


def test_the_cuda_folder_does_not_hide_the_cuda_package() -> None:
    if find_spec("cuda") is None or find_spec("cuda.bindings") is None:
        pytest.skip("needs cuda-bindings")
    done = subprocess.run(
        [sys.executable, "-c", "import cuda.bindings; print('found')"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "found\n", done.stderr


@pytest.mark.parametrize(
    "path", [path for path in SOURCES if path.name == "__init__.py"], ids=label
)
def test_package_inits_hold_a_docstring_only(path: Path) -> None:
    tree = parsed(path)
    assert ast.get_docstring(tree)
    if path != ROOT / "distill/losses/__init__.py":
        assert len(tree.body) == 1


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_modules_are_small_rooms_with_a_sign_at_the_door(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST
    assert ast.get_docstring(parsed(path))


def test_every_package_is_listed_for_the_wheel() -> None:
    tomllib: Any = pytest.importorskip("tomllib", reason="needs Python 3.11")
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    leaves = {leaf.replace(".", "/"): home for leaf, home in setup["package-dir"].items()}
    homes = {name.replace(".", "/") for name in setup["packages"]}
    for leaf, home in leaves.items():
        homes = {
            home + name.removeprefix(leaf) if name.startswith(leaf) else name for name in homes
        }
    assert [home for home in sorted(homes) if not (ROOT / home).is_dir()] == []
    inits = {label(path.parent) for path in SOURCES if path.name == "__init__.py"}
    assert inits - homes == set()


def recipe_fields(model: type[Section], path: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}", name
        for part in sections(field.annotation):
            kind = part.model_fields.get("kind")
            inner = f"{path}{name}({kind.annotation})." if kind else f"{path}{name}."
            yield from recipe_fields(part, inner)


def sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from sections(part)


def names_read() -> set[str]:
    """Attributes that are read, and parameters that a dumped section can fill."""
    found: set[str] = set()
    for path in modules("traces", "distill"):
        if path.name.startswith("recipe"):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
    return found


def test_every_field_of_the_recipe_is_read_somewhere() -> None:
    for needed in ("distill/pipeline.py", "traces/prompts.py"):
        if not (ROOT / needed).exists():
            pytest.skip(f"needs {needed}")
    read = names_read() | {"kind", "description"}  # which class it is; text for the reader
    assert [path for path, name in recipe_fields(Recipe) if name not in read] == []
