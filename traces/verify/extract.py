r"""Find the final answer in what a model wrote after its thinking.

The rules, tried in this order; the result says which one fired:

boxed        the last outermost balanced `\boxed{...}` or `\fbox{...}`
answer_line  what follows the last "answer:", "answer is" or "####", to the end of the line
label        a line that is a choice label and nothing else (multiple choice only)
last_number  the last number of the text (`lenient` only: to score untuned models generously)

All run in linear time: the text is untrusted and may be a megabyte of opening boxes.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

_BOX_TOKEN = re.compile(r"\\(?:boxed|fbox)\s{0,9}\{|\\.|[{}]", re.DOTALL)
_ANSWER = re.compile(
    r"\banswer\s{0,3}[*_]{0,2}\s{0,3}(?:is\b\s{0,3}:?|:|=)", re.IGNORECASE | re.MULTILINE
)
_HASHES = re.compile(r"^\s{0,3}####", re.MULTILINE)
_NUMBER = re.compile(
    r"\\[dt]?frac\s?\{-?\d{1,99}\}\s?\{\d{1,99}\}"
    r"|(?<![\w.])[-+\u2212]?(?:\d[\d,]{0,99}\d|\d|(?=\.\d))(?:\.\d{1,99})?(?:/\d{1,99})?(?:\s?\\?%)?"
)
_JOINT = re.compile(r"\}[\s$]{0,9}(or|and|,)[\s$]{0,9}(?:perhaps |maybe )?\\(?:boxed|fbox)\s?\{")
_RETRACTED = re.compile(
    r"\b(?:wait\b|hold on|actually,|scratch that|correction\b|oops|second thought|"
    r"i made an? (?:mistake|error)|(?:that|this|which)(?: is|'s| was) (?:wrong|incorrect)|"
    r"should (?:have been|be) \W{0,4}-?\d|not correct\b|sorry|apologi[sz]e|i meant?\b|"
    r"let me (?:re|double[- ]?)check|"
    r"no, (?:it|the|i)\b|(?:ignore|disregard) (?:it|that|this)\b)|"
    r"\A[\s$.*]{0,9}(?:is|was)(?:n't| not| in| wrong|correct)",
    re.IGNORECASE,
)
_SHORTEST_RETRACTION = 4
_SENTENCE_END = re.compile(r"[.!?]\s+(?=[A-Z])")
_LABEL_LINE = re.compile(r"^[\s*_(\[]{0,9}([A-Ja-j])[\s*_)\].:]{0,9}$")
_LABEL_NAMED = re.compile(
    r"\b(?:option|choice)\s{1,3}(?:is\s{0,3}:?|:)\s{0,3}(\(?[*_(\[]{0,3}[A-J](?![A-Za-z]).{0,80})"
)
_OPEN, _CLOSE = "<think>", "</think>"


class Extraction(NamedTuple):
    """An answer, the rule that found it, and whether the text takes it back afterwards."""

    text: str
    rule: str
    retracted: bool = False


def answer_part(text: str) -> str:
    """What follows the last closing think tag, up to where thinking opens again."""
    if _CLOSE in text:
        text = text.rpartition(_CLOSE)[2]
    return text.partition(_OPEN)[0] if _OPEN in text else text


def boxes(text: str) -> list[str]:
    """The contents of the outermost balanced boxes, in order. An unclosed box is none."""
    return [text[start:end] for start, end in _box_spans(text)]


def _box_spans(text: str) -> list[tuple[int, int]]:
    # What comes before the only box cannot be in it.
    first = text.find("\\boxed")
    only = first >= 0 and text.rfind("\\boxed") == first and "\\fbox" not in text
    only = only and text[first - 1 : first] != "\\"
    if only and text.startswith("{", first + 6):
        end = text.find("}", first + 7)
        inner = text[first + 7 : end]
        if end >= 0 and "{" not in inner and "\\" not in inner:
            return [(first + 7, end)]
    return _scanned_spans(text, first if only else 0)


def _scanned_spans(text: str, start: int = 0) -> list[tuple[int, int]]:
    stack: list[tuple[int, bool]] = []
    found: list[tuple[int, int]] = []
    for match in _BOX_TOKEN.finditer(text, start):
        token = match.group()
        if token.endswith("{") and token[:2] != "\\{":
            stack.append((match.end(), len(token) > 1))
        elif token == "}" and stack:
            start, is_box = stack.pop()
            if is_box:
                while found and found[-1][0] > start:
                    found.pop()
                found.append((start, match.start()))
    return found


def _boxed(text: str) -> Extraction | None:
    """The last box, with those joined to it by `or`, `and` or a comma, unless it is taken back."""
    if "\\boxed" not in text and "\\fbox" not in text:
        return None
    spans = _box_spans(text)
    if not spans:
        return None
    start, end = spans[-1]
    said = text[start:end].strip()
    for before, after in zip(spans[-2::-1], spans[:0:-1], strict=False):
        joint = _JOINT.fullmatch(text[before[1] : after[0]])
        if joint is None:
            break
        said = f"{text[before[0] : before[1]].strip()} {joint[1] or ','} {said}"
    rest = text[end + 1 :]
    if len(rest) < _SHORTEST_RETRACTION or not _RETRACTED.search(rest):
        return Extraction(said, "boxed")
    line = answer_line(text[end:])
    return Extraction(line, "answer_line") if line else Extraction(said, "boxed", retracted=True)


def answer_line(text: str) -> str | None:
    """What stands after the last answer marker, on its line or else on the next one with text."""
    marked = _marked(text)
    return marked[0] if marked else None


def _marked(text: str) -> tuple[str, str] | None:
    """The answer line and all that follows its first sentence."""
    marker = _marker(text)
    if marker is None:
        return None
    end = marker.end()
    line, _, rest = text[end:].lstrip(" \t\r\n*_:").partition("\n")
    sentence = _SENTENCE_END.search(line)
    return line.strip(" \t\r*_`"), f"{line[sentence.end() :] if sentence else ''}\n{rest}"


def _marker(text: str) -> re.Match[str] | None:
    """The last answer marker."""
    hashes = deque(_HASHES.finditer(text), maxlen=1) if "####" in text else ()
    answer = _last_answer(text)
    if hashes and (answer is None or answer.start() < hashes[0].start()):
        return hashes[0]
    return answer


def _last_answer(text: str) -> re.Match[str] | None:
    lower = text.lower()
    if len(lower) != len(text):
        found = deque(_ANSWER.finditer(text), maxlen=1)
        return found[0] if found else None
    position = len(lower)
    while (position := lower.rfind("answer", 0, position)) >= 0:
        if match := _ANSWER.match(text, position):
            return match
    return None


def before_answer(text: str) -> str:
    """What comes before the line of the last answer marker: all of it where there is none."""
    marker = _marker(text)
    return text if marker is None else text[: text.rfind("\n", 0, marker.start()) + 1]


def label_line(text: str) -> str | None:
    """The label of the last line that is nothing but a label, upper case."""
    for line in reversed(text.splitlines()):
        if match := _LABEL_LINE.match(line):
            return match.group(1).upper()
    return None


def last_number(text: str) -> str | None:
    """The last number of the text, as written."""
    found = deque(_NUMBER.finditer(text), maxlen=1)
    return found[0].group().strip() if found else None


def extract(text: str, *, labels: bool = False, lenient: bool = False) -> Extraction | None:
    """The final answer of `text`, which is the answer part only. None where no rule fires.

    `labels` allows a line with a bare choice label, `lenient` the last number.
    """
    if found := _boxed(text):
        return found
    if (marked := _marked(text)) is not None:
        line, rest = marked
        return Extraction(line, "answer_line", bool(_RETRACTED.search(rest)))
    if labels and (label := label_line(text)):
        return Extraction(label, "label")
    if labels and (named := deque(_LABEL_NAMED.finditer(text), maxlen=1)):
        return Extraction(named[0].group(1), "label")
    if lenient and (number := last_number(text)):
        return Extraction(number, "last_number")
    return None
