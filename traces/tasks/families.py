"""The table of procedural task families, and the type they share.

A family makes problems, solves them with worked steps, and checks answers and steps. Train and
test problems are disjoint by construction: the hash of a problem's canonical form decides which of
the two it belongs to, whatever the seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from traces.dotted import dotted
from traces.errors import UserError
from traces.keys import prompt_id
from traces.record import Message, Outcome, Prompt, Reference

Instance = dict[str, Any]

FAMILIES = {
    "largest-of-four": "traces.tasks.largest:FAMILY",
    "sum-of-three": "traces.tasks.sums:FAMILY",
    "count-even": "traces.tasks.evens:FAMILY",
}
"""Name to dotted path; a recipe may give a dotted path of its own instead of a name."""

TEST_SHARE = 0.25


class Solution(NamedTuple):
    """A worked solution: the thinking, and the answer that follows it."""

    reasoning: str
    answer: str


class StepCheck(NamedTuple):
    """Whether every step is right; `step` is the first that is not, `reason` says why."""

    outcome: Outcome
    reason: str = ""
    step: str = ""


class Family(NamedTuple):
    """A family of problems. `generate` draws an instance; the rest are pure functions of it."""

    name: str
    generate: Callable[[random.Random], Instance]
    canonical: Callable[[Instance], str]
    question: Callable[[Instance], str]
    solve: Callable[[Instance], Solution]
    answer: Callable[[Instance], str]
    extract: Callable[[str, bool], str | None]
    check_steps: Callable[[Instance, str], StepCheck | None]

    def check_answer(self, instance: Instance, response: str, lenient: bool = False) -> Outcome:
        """Whether `response` gives the answer. `unknown` where no answer can be read."""
        found = self.extract(response, lenient)
        if found is None:
            return "unknown"
        return "right" if found == self.answer(instance) else "wrong"


def family(name: str) -> Family:
    """The family `name`, or the one at the dotted path `package.module:ATTRIBUTE`.

    Raises:
        UserError: there is none.
    """
    path = FAMILIES.get(name, name)
    if ":" not in path:
        raise UserError(f"no task family {name!r}", f"known: {', '.join(sorted(FAMILIES))}")
    found = dotted(path, "task family")
    if not isinstance(found, Family):
        raise UserError(f"{name!r} is not a task family but {type(found).__name__}")
    return found


def split_of(task: Family, instance: Instance) -> str:
    """`test` for about a quarter of all instances, `train` for the rest, by content."""
    digest = hashlib.blake2b(f"{task.name}\n{task.canonical(instance)}".encode(), digest_size=8)
    return "test" if int.from_bytes(digest.digest(), "big") < TEST_SHARE * 2**64 else "train"


def task_prompts(name: str, count: int, seed: int, split: str) -> list[Prompt]:
    """`count` different problems of the `split`, the same for the same seed.

    Raises:
        UserError: the family is unknown, or has too few different problems.
    """
    task = family(name)
    rng = random.Random(f"{task.name}/{split}/{seed}")
    found: dict[str, Prompt] = {}
    tries = 0
    while len(found) < count:
        tries += 1
        if tries > 1000 + 100 * count:
            raise UserError(
                f"the task {name!r} has only {len(found)} different {split} problems, not {count}",
                "ask for fewer",
            )
        instance = task.generate(rng)
        if split_of(task, instance) == split:
            prompt = _prompt(task, instance, f"{name}:{split}:{seed}")
            found.setdefault(task.canonical(instance), prompt)
    return list(found.values())


def _prompt(task: Family, instance: Instance, source: str) -> Prompt:
    messages = (Message("user", task.question(instance)),)
    reference = Reference("task", task.answer(instance), task=task.name, instance=instance)
    return Prompt(prompt_id(messages, reference), messages, reference, task.name, source)
