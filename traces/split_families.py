"""The markers with which model families fence their thinking off inside the text.

One row per way of writing. DeepSeek R1 to V4, QwQ, Qwen3, GLM 4.5 on, MiniMax M1 and M2, Kimi K2,
Nemotron, ERNIE, Olmo 3, Step 3 and Phi-4 reasoning all write `<think>`; many of their chat
templates put the opening tag into the prompt, so that only the closing one comes back. The
markers are those of the reasoning parsers of vLLM, SGLang and llama.cpp.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SPLIT_VERSION = 1


class Family(NamedTuple):
    """How one family writes: patterns of the opening and closing marker.

    `strict` families need their opening marker at the very start, because the same words occur in
    ordinary text. `wrap` is a pair of literal markers around the answer. Every closing marker
    begins with `mark`, which is found in a fraction of the time that a pattern takes.
    """

    name: str
    open: re.Pattern[str]
    close: re.Pattern[str]
    mark: str
    wrap: tuple[str, str] | None = None
    strict: bool = False

    def closes(self, text: str, low: int) -> list[re.Match[str]]:
        """The closing markers from `low` on."""
        at = text.find(self.mark[0], low)  # a search for one character is quicker still
        if at >= 0:
            at = text.find(self.mark, at)
        return list(self.close.finditer(text, at)) if at >= 0 else []


def _tags(name: str, *tags: str, wrap: tuple[str, str] | None = None) -> Family:
    opening, closing = (re.compile(re.escape(tag)) for tag in tags)
    return Family(name, opening, closing, tags[1], wrap)


FAMILIES: tuple[Family, ...] = (
    # Hunyuan A13B, GLM 4.1V and R1-Zero style models fence the answer as well.
    _tags("think", "<think>", "</think>", wrap=("<answer>", "</answer>")),
    _tags("magistral", "[THINK]", "[/THINK]"),
    _tags("seed", "<seed:think>", "</seed:think>"),
    _tags("minimax", "<mm:think>", "</mm:think>"),
    _tags("kimi", "◁think▷", "◁/think▷"),
    _tags(
        "cohere",
        "<|START_THINKING|>",
        "<|END_THINKING|>",
        wrap=("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
    ),
    _tags("apertus", "<|inner_prefix|>", "<|inner_suffix|>"),
    _tags(
        "openthinker",
        "<|begin_of_thought|>",
        "<|end_of_thought|>",
        wrap=("<|begin_of_solution|>", "<|end_of_solution|>"),
    ),
    Family(
        "gemma",
        re.compile(r"<\|channel>(?:thought\r?\n)?"),
        re.compile(r"<channel\|>"),
        "<channel|>",
    ),
    _tags("thought", "<thought>", "</thought>"),  # EXAONE Deep
    Family(
        "thinking",
        re.compile("<thinking>"),
        re.compile("</thinking>"),
        "</thinking>",
        ("<answer>", "</answer>"),
        strict=True,
    ),
    Family(
        "reasoning",
        re.compile("<reasoning>"),
        re.compile("</reasoning>"),
        "</reasoning>",
        ("<answer>", "</answer>"),
        strict=True,
    ),
    Family(
        "granite",
        re.compile("Here(?:'s| is) my thought process:"),
        re.compile("Here(?:'s| is) my response:"),
        "Here",
        strict=True,
    ),
)
