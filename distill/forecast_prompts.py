"""How many questions a recipe has and how long they are, for the forecast."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import msgspec

from distill.recipe import Source
from distill.recipe_file import LoadedRecipe
from distill.sources import load_prompts, source_name, teacher_context
from traces.record import Message

CHARACTERS_PER_TOKEN = 4.0


class Questions(msgspec.Struct, frozen=True):
    """The questions of all sources of a list; `context_tokens` are what the teacher sees
    besides each of them, `tokens_note` says how tokens were counted.
    """

    count: int
    note: str
    mean_tokens: float
    longest_tokens: float
    context_tokens: float
    tokens_note: str


def measure(sources: Sequence[Source], loaded: LoadedRecipe, split: str) -> Questions:
    """Count the questions of `sources` and their tokens; `split` is `train` or `test`.

    Raises:
        UserError: a file is missing, empty or broken, or a task family is not known.
    """
    tokens, how = _tokenizer(loaded)
    prompts = load_prompts(loaded, sources, split)
    names = [source_name(source) for source in sources]
    lengths = [tokens(_text(prompt.messages)) for prompt in prompts]
    context = tokens(_text(teacher_context(loaded)))
    return Questions(len(prompts), ", ".join(names), fmean(lengths), max(lengths), context, how)


def _text(messages: Sequence[Message]) -> str:
    return "\n".join(message.content for message in messages)


def _tokenizer(loaded: LoadedRecipe) -> tuple[Callable[[str], float], str]:
    """A function that measures a text, and how it does: the student's tokenizer if it is here."""
    path = loaded.resolve(loaded.recipe.student.model) / "tokenizer.json"
    if path.is_file():
        try:
            from tokenizers import Tokenizer
        except ImportError:
            pass
        else:
            tokenizer = Tokenizer.from_file(str(path))
            return lambda text: float(len(tokenizer.encode(text).ids)), "the student's tokenizer"
    note = f"{CHARACTERS_PER_TOKEN:g} characters a token"
    return lambda text: len(text) / CHARACTERS_PER_TOKEN, note
