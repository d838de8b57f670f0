"""Multiple choice: labels A to J, one or several, or the text of a choice in place of its label."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import cast

from traces.record import Outcome
from traces.verify.check import Check
from traces.verify.text import canonical

VERIFIER = "choice@3"
_WORD = re.compile(r"[A-Za-z]{2,}|(?<![A-Za-z])(?:a|i)(?![A-Za-z])")
_WRAP = re.compile(r"\\(?:text|mathrm|mbox|textbf|mathbf)\s?\{([^{}]*)\}")
_LEADING = re.compile(
    r"^\s*(?:(?:option|choice|answer)\s+)?[*_(\[]*([A-Ja-j])(?:[*_)\]]*[.:)\]]|[*_)\]]+\s|$)"
)
_LIST = re.compile(
    r"^[*_(\[{\s]*[A-Ja-j](?:[*_)\]}\s]*(?:,|;|&|\band\b|\s)[*_(\[{\s]*[A-Ja-j])*[*_)\]}.\s]*$"
)
_RUN = re.compile(r"[A-J]{2,5}")
_ARTICLE = re.compile(r"^(?:the|an?) ")
_PARTS = re.compile(r",\s*(?:and\s)?|;\s*|\sand\s")
_OR = re.compile(r"\bor\b|/", re.IGNORECASE)
_LABEL = re.compile(r"(?<![A-Za-z])[A-Ja-j](?![A-Za-z])")
_CAPITAL = re.compile(
    r"(?<![A-Za-z'])[B-J](?![A-Za-z'])|(?<![A-Za-z'])A(?![A-Za-z']|\s+(?!or\b|and\b)[A-Za-z])"
)
_EXCLUDED = re.compile(
    r"[,;]?\s*\b(?:and |but )?not\s+\(?[A-J]\)?(?:\s+(?:or|nor)\s+\(?[A-J]\)?)*\W*$"
)
_DOUBT = re.compile(
    r"\b(?:not|n't|neither|nor|except|but|wrong|incorrect|false|maybe|perhaps|possibly|might|could|"
    r"either|unsure|wait|eliminate|rule out)\b|n't\b|\?",
    re.IGNORECASE,
)
# What may stand around a label that is named in a sentence.
_SENTENCE = frozenset(
    """the a an answer answers option options choice choices letter correct right best final is are
    must be it i we so thus hence therefore choose pick select my this that statement
    and""".split()  # noqa: SIM905
)


def labels_of(answer: str, choices: Mapping[str, str]) -> frozenset[str]:
    """The labels that `answer` names: a bare list, a label before its text, or a choice's text.

    Empty where none is named, several in a way that is no list, one in a sentence that may say
    something else of it ("all but B"), or one with another choice's text. "or" between two labels
    names both, so a hedge is never one label.
    """
    text = unicodedata.normalize("NFKC", _WRAP.sub(r"\1", answer)).replace("$", " ")
    text = " ".join(text.split())  # over runs of white space the patterns take quadratic time
    if _LIST.match(text):
        return frozenset(label.upper() for label in _LABEL.findall(text.replace(" and ", ",")))
    if _RUN.fullmatch(text) and list(text) == sorted(set(text)):
        return frozenset(text)
    said = canonical(text)
    if by_text := _by_text(said, choices):
        return by_text
    text = _EXCLUDED.sub("", text)
    capitals = frozenset(_CAPITAL.findall(text))
    if len(capitals) > 1 and _OR.search(text):
        return capitals
    if leading := _LEADING.match(text):
        label, rest = leading[1].upper(), text[leading.end() :]
        return frozenset() if _contradicts(label, rest, choices) else frozenset((label,))
    words = {word.lower() for word in _WORD.findall(text)}
    plain = words <= _SENTENCE and not _DOUBT.search(text)
    return capitals if len(capitals) == 1 and plain else frozenset()


def _by_text(said: str, choices: Mapping[str, str]) -> frozenset[str]:
    """The first choice that `said` is, with an article or without where that fits only one."""
    texts = [(label.upper(), canonical(value)) for label, value in choices.items() if value]
    found = [label for label, text in texts if text == said]
    if not found:
        bare = _ARTICLE.sub("", said)
        found = [label for label, text in texts if _ARTICLE.sub("", text) == bare]
        found = found if len(found) == 1 else []
    return frozenset(found[:1])


def _listed(answer: str, choices: Mapping[str, str]) -> frozenset[str]:
    """The labels of the choices whose texts are listed, empty where one part is no choice."""
    parts = _PARTS.split(canonical(_WRAP.sub(r"\1", answer)))
    found = [_by_text(part.strip(), choices) for part in parts]
    return frozenset().union(*found) if all(found) else frozenset()


def _contradicts(label: str, rest: str, choices: Mapping[str, str]) -> bool:
    """Whether what follows a label is another choice's text, a doubt or another label."""
    said = canonical(rest)
    texts = {canonical(value): name.upper() for name, value in choices.items() if value}
    if not said or said in texts:
        return bool(said) and texts[said] != label
    own = next((canonical(v) for n, v in choices.items() if n.upper() == label), "")
    if own and said.startswith(own):
        said, rest = said[len(own) :], rest[len(own) :]
    others = frozenset(_CAPITAL.findall(rest)) - {label, "I"}
    return bool(others) or bool(_DOUBT.search(said))


def check_choice(gold: str, answer: str, choices: Mapping[str, str]) -> Check:
    """Right where the sets of labels are equal; unknown where `answer` names none."""
    wanted = labels_of(gold, choices)
    if not wanted:
        return Check("unknown", "choice", f"reference {gold[:40]!r} is no label and no choice")
    named = labels_of(answer, choices)
    if len(named) > 1 and _OR.search(answer):
        outcome = "wrong" if len(wanted) == 1 or named != wanted else "unknown"
        return Check(cast(Outcome, outcome), "choice", "hedge")
    if not named and len(wanted) > 1:
        named = _listed(answer, choices)
    if not named:
        return Check("unknown", "choice", "no label")
    if named == wanted:
        return Check("right", "choice")
    hedged = len(wanted) == 1 and len(named) > 1
    return Check("wrong", "choice", "hedge" if hedged else "")
