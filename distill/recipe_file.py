"""Recipe files: found by path or name, read with all their faults named by line, overridden.

A fault is one line, `file:line: field.path: what is wrong; did you mean X`, and one RecipeError
carries all of them. Files and environment variables that a recipe names are looked for here too,
so that a run does not stop in its third stage for a missing file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from distill.assets import asset
from distill.recipe import Recipe
from distill.recipe_check import check_section
from distill.recipe_needs import is_path, missing, resolve
from distill.recipe_words import nearest, shown
from distill.yaml_lines import Document, dotted, dump_yaml, read_yaml
from distill.yaml_lines import Path as Place
from traces.errors import RecipeError


@dataclass(frozen=True)
class LoadedRecipe:
    """A recipe with its source. `text` is what a run keeps: with overrides, the effective recipe.

    `sha` is SHA-256 of `text`; `base` is the folder that relative paths start from.
    """

    recipe: Recipe
    path: Path | None
    text: bytes
    sha: str
    base: Path

    def resolve(self, path: str) -> Path:
        """A path of the recipe as one that can be opened, relative where it lies below here."""
        found = resolve(self.base, path)
        return found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found

    def model(self, name: str) -> str:
        """A model of the recipe as it can be loaded: a path, a hub id or a built-in name."""
        return str(self.resolve(name)) if is_path(name) else name


def load_recipe(
    path_or_name: str | Path, *, overrides: Sequence[str] = (), check_files: bool = True
) -> LoadedRecipe:
    """Read a recipe file, or a packaged recipe by name.

    `overrides` are `section.key=value` with the value in YAML, checked like the file.
    `check_files` looks for the files and environment variables that the recipe names.

    Raises:
        RecipeError: all faults, one line each.
    """
    path = find_recipe(path_or_name)
    document, text = _read(path)
    recipe = _validate(document, overrides)
    base = path.resolve().parent
    if overrides:
        text = _effective(document, path, overrides)
    loaded = LoadedRecipe(recipe, path, text, hashlib.sha256(text).hexdigest(), base)
    if check_files:
        for place, problem in missing(recipe, base):
            document.fault(place, problem)
        _stop_at_faults(document)
    return loaded


def packaged_recipes() -> dict[str, Path]:
    """The recipes that come with this installation, by name."""
    root = asset("recipes")
    found = {path.stem: path for path in root.glob("*.yaml")}
    found |= {path.parent.name: path for path in root.glob("*/recipe.yaml")}
    return dict(sorted(found.items()))


def find_recipe(path_or_name: str | Path) -> Path:
    """The file of a recipe given by path, by folder, or by the name of a packaged one.

    Raises:
        RecipeError: there is none; the nearest names are in the message.
    """
    path = Path(path_or_name).expanduser()
    if path.is_file():
        return path
    if (path / "recipe.yaml").is_file():
        return path / "recipe.yaml"
    packaged = packaged_recipes()
    if str(path_or_name) in packaged:
        return packaged[str(path_or_name)]
    folder = path if path.is_dir() else path.parent
    beside = [str(folder / p.name) for p in folder.glob("*.y*ml")]
    guess = nearest(str(path_or_name), [*packaged, *beside])
    if path.is_dir():
        held = f", but {', '.join(sorted(beside)[:3])}" if beside else guess
        guess = f"; the folder has no recipe.yaml{held}"
    raise RecipeError(
        f"{path_or_name}: no such recipe{guess}",
        f"packaged recipes: {', '.join(packaged)}; or give the path of a YAML file",
    )


def recipe_schema() -> dict[str, Any]:
    """JSON Schema of a recipe file, for editors that complete and check YAML."""
    schema = Recipe.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _read(path: Path) -> tuple[Document, bytes]:
    payload = path.read_bytes()
    try:
        text = payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = payload.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from None
    document = read_yaml(text, str(path))
    if not document.faults and document.value is None:
        document.faults.append(f"{path}:1: the recipe is empty; `distill init` writes one to edit")
    return document, payload


def _validate(document: Document, overrides: Sequence[str]) -> Recipe:
    if not isinstance(document.value, dict):
        _stop_at_faults(document)
        problem = f"a recipe is a mapping of keys, not {shown(document.value)}"
        document.faults.append(f"{document.place(())}: {problem}")
        raise _error(document)
    for override in overrides:
        _override(document, override)
    for place, problem in check_section(Recipe, document.value):
        document.fault(place, problem)
    _stop_at_faults(document)
    try:
        return Recipe.model_validate(document.value)
    except ValidationError as error:
        for item in error.errors():
            document.fault(tuple(item["loc"]), item["msg"])
        raise _error(document) from error


def _stop_at_faults(document: Document) -> None:
    if document.faults:
        raise _error(document)


def _error(document: Document) -> RecipeError:
    def line_of(fault: str) -> tuple[bool, int]:
        head = fault.removeprefix(document.label).split(":", 2)
        return (False, int(head[1])) if len(head) > 1 and head[1].isdigit() else (True, 0)

    return RecipeError("\n".join(sorted(document.faults, key=line_of)))


def _override(document: Document, override: str) -> None:
    keys, equals, text = override.partition("=")
    label = f"--set {keys}=***" if keys.endswith("api_key") else f"--set {override}"
    if not equals or not keys:
        document.faults.append(f"{label}: write it as section.key=value")
        return
    given = read_yaml(text, label)
    if given.faults:
        document.faults += [f"{label}: {f.removeprefix(f'{label}:1: ')}" for f in given.faults]
        return
    place: Place = tuple(int(part) if part.isdigit() else part for part in keys.split("."))
    target = document.value
    for depth, key in enumerate(place):
        here = place[: depth + 1]
        known = isinstance(key, int) and isinstance(target, list) and key < len(target)
        if not known and not (isinstance(target, dict) and isinstance(key, str)):
            inside = dotted(place[:depth])
            problem = f"{inside} is {shown(target)} and has no {key!r}"
            document.faults.append(f"{label}: {problem}")
            return
        if here == place:
            target[key] = given.value
        elif not known and target.get(key) is None:
            target[key] = {}
        if here not in document.where or here == place:
            document.where[here] = label
        target = target[key]
    document.where |= {place + inner: label for inner in given.where}


def _effective(document: Document, path: Path, overrides: Sequence[str]) -> bytes:
    given = " ".join(f"--set {override}" for override in overrides)
    head = f"# {path.name} with {given}\n"
    return (head + dump_yaml(document.value)).encode()
