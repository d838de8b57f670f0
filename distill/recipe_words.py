"""The words for a recipe's faults: what a field needs, and where an unknown key belongs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from distill.recipe import Recipe, Section
from distill.yaml_lines import Path, dotted

FOREIGN_NAMES = {
    "lr": "learning_rate",
    "num_train_epochs": "epochs",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "accumulation",
    "max_seq_length": "max_length",
    "max_new_tokens": "max_tokens",
    "warmup_ratio": "warmup_share",
    "lr_scheduler_type": "schedule",
    "lora_r": "rank",
    "lora_alpha": "alpha",
    "n": "samples",
    "api_base": "base_url",
    "api_key": "api_key_env",
    "model_name_or_path": "model",
}
"""What other trainers and clients call our fields."""

SOURCES = ("prompts", "evaluate.problems")
WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
BOUNDS = {"gt": "above", "ge": "of at least", "lt": "below", "le": "of at most"}


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for the nearest of `known`, or an empty string."""
    close = get_close_matches(word, list(known), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else ""


def shown(value: Any) -> str:
    """A value as the reader wrote it, cut to a readable length."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a section"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}...'"


def expected(annotation: Any, metadata: Iterable[Any] = ()) -> str:
    """What a field needs, in words: `a whole number above 0 or null`."""
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        return expected(inner, [*metadata, *more])
    if get_origin(annotation) in (Union, UnionType):
        parts = [expected(part) for part in get_args(annotation)]
        return " or ".join(dict.fromkeys(parts))
    if annotation is NoneType:
        return "null"
    origin = get_origin(annotation)
    if origin is Literal:
        choices = [str(choice) for choice in get_args(annotation)]
        return choices[0] if len(choices) == 1 else f"one of {', '.join(choices)}"
    if origin is list:
        item = expected(get_args(annotation)[0])
        return "a list of sections" if item == "a section of keys" else f"a list ({item})"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "a section of keys"
    return WORDS.get(annotation, "a mapping") + _bounds(metadata)


def _bounds(metadata: Iterable[Any]) -> str:
    flat = [m for item in metadata for m in (item.metadata if _is_field(item) else [item])]
    found = []
    for constraint in flat:
        for name, word in BOUNDS.items():
            limit = getattr(constraint, name, None)
            if limit is not None:
                found.append(f"{word} {limit:.12g}")
        if pattern := getattr(constraint, "pattern", None):
            found.append(f"that matches {pattern}")
    return f" {' and '.join(found)}" if found else ""


def _is_field(item: Any) -> bool:
    return isinstance(item, FieldInfo)


def unknown_key(key: str, model: type[Section], path: Path) -> str:
    """Why `key` is not a field of `model`, and where it belongs if anywhere."""
    name = FOREIGN_NAMES.get(key, key)
    homes = [home for home in places().get(name, ()) if home != dotted(path)]
    # A source of documents has a teacher and sampling of its own, a judge too; few mean those.
    homes = [home for home in homes if not home.startswith((*SOURCES, "verify.judge"))] or homes
    if key != name and name in model.model_fields:
        return f"unknown key; did you mean {name}?"
    if "." in key and key.partition(".")[0] in model.model_fields:
        head, _, tail = key.partition(".")
        return f"unknown key; nest it: write `{tail}` under `{head}:`"
    if homes:
        return f"unknown key here; `{name}` belongs to {_either(homes)}"
    guess = nearest(key, model.model_fields)
    if not guess and (far := get_close_matches(key, list(places()), 1, 0.8)):
        guess = f"; did you mean `{far[0]}` of {_either(list(places()[far[0]]))}?"
    return f"unknown key{guess or '; allowed: ' + ', '.join(model.model_fields)}"


def _either(homes: list[str]) -> str:
    named = [home or "the top level" for home in homes]
    return " or ".join([", ".join(named[:-1]), named[-1]] if named[1:] else named)


@cache
def places() -> dict[str, tuple[str, ...]]:
    """From a field's name to the sections that have it, as `train.lora` or `teacher (kind: x)`."""
    found: dict[str, list[str]] = {}
    for section, name in _walk(Recipe, ""):
        homes = found.setdefault(name, [])
        if section not in homes:
            homes.append(section)
    return {name: tuple(homes) for name, homes in found.items()}


def _walk(model: type[Section], path: str) -> Iterator[tuple[str, str]]:
    kind = model.model_fields.get("kind")
    kinds = get_args(kind.annotation) if kind else ()
    label = f"{path} (kind: {kinds[0]})" if len(kinds) == 1 else path
    for name, field in model.model_fields.items():
        yield label, name
        inner = f"{path}.{name}" if path else name
        for part in _sections(field.annotation):
            yield from _walk(part, inner)


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in get_args(annotation):
        if get_origin(annotation) is not Literal:
            yield from _sections(part)


def members_of(annotation: Any) -> list[Any]:
    """The types a union allows, `Annotated` taken off; one type for anything else."""
    if get_origin(annotation) is Annotated:
        return members_of(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [member for part in get_args(annotation) for member in members_of(part)]
    return [annotation]
