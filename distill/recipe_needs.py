"""What a recipe needs from outside itself: files beside it, variables of the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from distill.recipe import (
    DocumentSource,
    EndpointTeacher,
    FileSource,
    FileTeacher,
    HubSource,
    LocalTeacher,
    Recipe,
    StoreSource,
    StoreTeacher,
    Teacher,
    VllmTeacher,
)
from distill.recipe_words import nearest
from distill.yaml_lines import Path as Place


def resolve(base: Path, path: str) -> Path:
    """A path of a recipe that lies in the folder `base`, as one that can be opened."""
    return base / Path(path).expanduser()


def missing(recipe: Recipe, base: Path) -> Iterator[tuple[Place, str]]:
    """Every file and environment variable the recipe names that is not there, with its field."""
    for place, name in _files(recipe):
        wanted = resolve(base, name)
        if not wanted.exists():
            folder = wanted.parent
            names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
            yield place, f"no file {str(wanted)!r}{nearest(wanted.name, sorted(names))}"
    for where, teacher in _teachers(recipe):
        if isinstance(teacher, EndpointTeacher) and teacher.api_key_env:
            name = teacher.api_key_env
            if not os.environ.get(name):
                problem = f"the environment variable {name} is not set; run `export {name}=...`"
                yield (*where, "api_key_env"), problem
    for place, encoder in _encoders(recipe):
        module = _module_of(encoder)
        if not _found(module):
            problem = f"no module {module!r}; pip install it"
            if module == "sentence_transformers":
                problem = f"no module {module!r}; pip install 'trace-distill[semantic]'"
            yield place, problem


def _encoders(recipe: Recipe) -> Iterator[tuple[Place, str]]:
    section = recipe.curate
    if section.semantic is not None:
        yield ("curate", "semantic", "encoder"), section.semantic.encoder
    if section.overlap is not None and section.overlap.semantic is not None:
        yield ("curate", "overlap", "semantic", "encoder"), section.overlap.semantic.encoder


def _module_of(encoder: str) -> str:
    """The module that an encoder comes from: its own, or that of models by name."""
    module, _, attribute = encoder.partition(":")
    return module if attribute else "sentence_transformers"


def _found(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _files(recipe: Recipe) -> Iterator[tuple[Place, str]]:
    for prefix, sources in (
        (("prompts",), recipe.prompts),
        (("evaluate", "problems"), recipe.evaluate.problems),
    ):
        for index, source in enumerate(sources):
            if isinstance(source, FileSource | StoreSource):
                yield (*prefix, index, "path"), source.path
            elif isinstance(source, HubSource) and is_path(source.dataset):
                yield (*prefix, index, "dataset"), source.dataset
            elif isinstance(source, DocumentSource):
                for number, path in enumerate(source.paths):
                    if not set(path) & set("*?["):
                        yield (*prefix, index, "paths", number), path
    for where, teacher in _teachers(recipe):
        if isinstance(teacher, FileTeacher | StoreTeacher):
            yield (*where, "path"), teacher.path
        if isinstance(teacher, LocalTeacher) and teacher.adapter:
            yield (*where, "adapter"), teacher.adapter
        if isinstance(teacher, LocalTeacher | VllmTeacher) and is_path(teacher.model):
            yield (*where, "model"), teacher.model
    if is_path(recipe.student.model):
        yield ("student", "model"), recipe.student.model


def _teachers(recipe: Recipe) -> Iterator[tuple[Place, Teacher]]:
    """The recipe's teacher, those that write questions and the judge, each with its place."""
    yield ("teacher",), recipe.teacher
    for index, source in enumerate(recipe.prompts):
        if isinstance(source, DocumentSource) and source.teacher is not None:
            yield ("prompts", index, "teacher"), source.teacher
    if recipe.verify.judge is not None:
        yield ("verify", "judge", "teacher"), recipe.verify.judge.teacher


def is_path(model: str) -> bool:
    """Whether a model is given as a path rather than by its name."""
    return model.startswith(("./", "../", "/", "~"))
