"""Prompts from reasoning-gym: procedural problems whose own scorer judges the answers.

A reference of kind `gym` carries the dataset's name, its configuration, its seed and the entry as
it was generated, so that a verdict can be computed again from the record alone. Train and test are
disjoint by content, as those of `traces.tasks` are: the hash of a question decides.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from traces.errors import DataError, MissingDependencyError, UserError
from traces.keys import prompt_id
from traces.record import Message, Prompt, Reference
from traces.tasks.families import TEST_SHARE

TRIES = 20
"""A dataset may repeat itself: so many entries are looked at for each one wanted."""


def gym_prompts(
    dataset: str,
    count: int,
    seed: int,
    split: str,
    *,
    config: Mapping[str, Any] | None = None,
    instruction: str = "",
) -> list[Prompt]:
    """`count` different problems of the `split`, the same for the same arguments and version.

    Raises:
        MissingDependencyError: reasoning-gym is not installed.
        UserError: no such dataset, a configuration that it refuses, or too few different problems.
    """
    factory = load_gym()
    if dataset not in factory.DATASETS:
        raise UserError(
            f"reasoning-gym has no dataset {dataset!r}", _nearest(dataset, factory.DATASETS)
        )
    size = 100 + TRIES * count
    try:
        entries = factory.create_dataset(dataset, seed=seed, size=size, **(config or {}))
    except (AssertionError, TypeError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"reasoning-gym's {dataset}: it refuses its config: {reason}") from error
    found: dict[str, Prompt] = {}
    for index in range(size):
        if len(found) == count:
            break
        entry = _as_json(entries[index], dataset)
        if split_of(dataset, str(entry["question"])) == split:
            prompt = _prompt(dataset, config or {}, seed, split, index, entry, instruction)
            found.setdefault(prompt.messages[-1].content, prompt)
    if len(found) < count:
        raise UserError(
            f"reasoning-gym's {dataset} gave only {len(found)} different {split} problems, not "
            f"{count}",
            "ask for fewer, or widen its config",
        )
    return list(found.values())


def load_gym() -> Any:
    """The module `reasoning_gym.factory`, with all its datasets.

    One of its dependencies, cellpylib 2.4.0, compares with `is` to a literal: Python says so when
    it first compiles that file, and with warnings as errors the import fails.
    That is no affair of ours.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            import reasoning_gym.factory as factory
    except ImportError as error:
        raise MissingDependencyError(
            f"reasoning-gym cannot be loaded: {error}", "pip install 'trace-distill[gym]'"
        ) from error
    return factory


def split_of(dataset: str, question: str) -> str:
    """`test` for about a quarter of all questions, `train` for the rest, by content."""
    digest = hashlib.blake2b(f"{dataset}\n{question}".encode(), digest_size=8).digest()
    return "test" if int.from_bytes(digest, "big") < TEST_SHARE * 2**64 else "train"


def _prompt(
    dataset: str,
    config: Mapping[str, Any],
    seed: int,
    split: str,
    index: int,
    entry: dict[str, Any],
    instruction: str,
) -> Prompt:
    question = str(entry["question"])
    text = f"{question}\n\n{instruction}" if instruction else question
    answer = entry.get("answer")
    instance = {
        "config": dict(config),
        "seed": seed,
        "index": index,
        "entry": entry,
        "version": metadata.version("reasoning-gym"),
    }
    reference = Reference(
        "gym", "" if answer is None else str(answer), task=dataset, instance=instance
    )
    messages = (Message("user", text),)
    source = f"gym/{dataset}:{split}:{seed}:{index}"
    return Prompt(prompt_id(messages, reference), messages, reference, dataset, source)


def _as_json(entry: Any, dataset: str) -> dict[str, Any]:
    try:
        plain: dict[str, Any] = json.loads(json.dumps(entry))
    except (TypeError, ValueError) as error:
        raise DataError(
            f"reasoning-gym's {dataset}: an entry is not plain data ({error}), so that its "
            "verdicts could not be computed again",
            "choose another dataset",
        ) from error
    return plain


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, known, 3)
    return f"did you mean {' or '.join(close)}?" if close else f"it has {len(known)} others"
