r"""Find the final answer in what a model wrote after its thinking.

The rules, tried in this order; the result says which one fired:

boxed        the last outermost balanced `\boxed{...}` or `\fbox{...}`
answer_tag   what stands between the last `<answer>` and `</answer>`
answer_line  what follows the last "answer:", "answer is" or "####", to the end of the line, or the
             line under a heading "Final answer"; else the like
             in other languages
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
_HEADING = re.compile(r"[\s#*_]*(?:the\s)?final\s", re.IGNORECASE)
_HEADING_END = re.compile(r"answer[ \t*_:]{0,6}\r?\n", re.IGNORECASE)
_FOREIGN_PLAIN = ("respuesta", "antwort", "risposta", "resposta", "antwoord")
_FOREIGN = re.compile(
    "\\b(?:respuesta|r\u00e9ponse|antwort|risposta|resposta|antwoord)"
    "(?:\\s(?:final|finale|correcta|correcte|corretta|correta))?\\s{0,3}[*_]{0,2}\\s{0,3}"
    "(?:(?:es|est|ist|lautet|\u00e8|\u00e9)\\b(?:\\s(?:la|le|il|el|a|o)\\b)?\\s{0,3}:?|[:=\uff1a])"
    "|\\b\u043e\u0442\u0432\u0435\u0442\\s{0,3}[*_]{0,2}\\s{0,3}[:\uff1a]"
    "|(?:\u7b54\u6848|\u7b54\u3048|\ub2f5)\\s{0,3}[*_]{0,2}\\s{0,3}[\u662f\u4e3a\u70ba\u306f\uc740:\uff1a]",
    re.IGNORECASE,
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
    r"give or take\b|the (?:true|real|actual|correct|right) answer (?:is|should|was)\b|"
    r"no, (?:it|the|i)\b|(?:ignore|disregard|forget) (?:it|that|this|(?:the|my|all|everything)\b"
    r"[^.\n]{0,20}\b(?:above|previous|earlier|before|answer|solution|result))\b)|"
    r"\A[\s$.*]{0,9}(?:is|was)(?:n't| not| in| wrong|correct)|\A[\s$]{0,9}\?\s{0,3}no\b",
    re.IGNORECASE,
)
_RECHECK = re.compile(r"\blet me (?:re|double[- ]?)check", re.IGNORECASE)
_CONFIRMED = re.compile(
    "[\u2713\u2714\u2705]|\\b(?:correct|confirm(?:s|ed)|verified|match(?:es)?|checks out|"
    "as expected|consistent|yes)\\b",
    re.IGNORECASE,
)
_DOUBTED = re.compile(
    "[?\u2717\u2718\u274c\u2260]|n't\\b|\\b(?:not|no|wrong|incorrect|but|however|hmm|instead|mistake|"
    "error|differs?|different|contradict(?:s|ion)|should|rather)\\b",
    re.IGNORECASE,
)
_DENYING = tuple(
    f"{no}{be}"
    for no in (" not", " never", " cannot", "n't")
    for be in ("", " be", " equal", " equal to", " be equal to")
)
_WRONG = ("wrong", "incorrect", "mistaken", "false", "naive")
_NAMED_WRONG = re.compile(
    rf"\b(?:{'|'.join(_WRONG)}) (?:answer|result|value|choice|solution)"
    r" (?:is|was|would be|might be|could be|may be):?\Z"
)
_SHORTEST_RETRACTION = 3
_SENTENCE_END = re.compile(r"[.!?]\s+(?=[A-Z])")
_LABEL_LINE = re.compile(r"^[\s*_(\[]{0,9}([A-Ja-j])[\s*_)\].:]{0,9}$")
_LABEL_NAMED = re.compile(
    r"\b(?:option|choice)(?:\s{1,3}is\s{0,3}:?|\s{0,3}:)\s{0,3}(\(?[*_(\[]{0,3}[A-J](?![A-Za-z]).{0,80})"
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
    escaped = text.find("\\{", first) >= 0 or text.find("\\}", first) >= 0
    if only and text.startswith("{", first + 6) and not escaped:
        end = _closing(text, first + 7)
        return [] if end < 0 else [(first + 7, end)]
    return _scanned_spans(text, first if only else 0)


def _closing(text: str, start: int) -> int:
    """Where the brace closes that was opened before `start`, -1 where it does not."""
    depth, position = 1, start
    while depth:
        end = text.find("}", position)
        if end < 0:
            return -1
        depth += text.count("{", position, end) - 1
        position = end + 1
    return end


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
    said = text[start:end].strip() if len(spans) == 1 else _joined(text, spans)
    rest = text[end + 1 :]
    if not _taken_back(rest, said) and not _denied(text, start):
        return Extraction(said, "boxed")
    line = answer_line(text[end:])
    return Extraction(line, "answer_line") if line else Extraction(said, "boxed", retracted=True)


def _joined(text: str, spans: list[tuple[int, int]]) -> str:
    """The content of the last box, behind those of the boxes that are joined to it."""
    said = text[slice(*spans[-1])].strip()
    for before, after in zip(spans[-2::-1], spans[:0:-1], strict=False):
        joint = _JOINT.fullmatch(text[before[1] : after[0]])
        if joint is None:
            break
        said = f"{text[slice(*before)].strip()} {joint[1] or ','} {said}"
    return said


def _denied(text: str, start: int) -> bool:
    """Whether the words right before the box whose content begins at `start` deny it."""
    before = text[max(0, start - 80) : start].lower()
    said = " " + before[: before.rfind("\\")].rstrip(" \t\r\n$\\([*")
    if said.endswith(_DENYING):
        return True
    return said.rstrip(":").endswith((" is", " was", " be")) and bool(_NAMED_WRONG.search(said))


def _taken_back(rest: str, said: str) -> bool:
    """Whether what follows an answer takes it back, or announces a check that does not confirm it:
    no word of doubt, a word or sign of agreement or the answer again behind an equals sign, and
    where numbers are named the answer is among them.
    """
    if len(rest) < _SHORTEST_RETRACTION:
        return False
    if _RETRACTED.search(rest):
        return True
    check = _RECHECK.search(rest)
    if check is None:
        return False
    if len(said) > 200:
        return True
    tail = rest[check.end() :]
    again = tail.rstrip(" \n$.*)\\").endswith((f"= {said}", f"={said}"))
    if _DOUBTED.search(tail) or not (again or _CONFIRMED.search(tail)):
        return True
    return any(map(str.isdigit, tail)) and not re.search(
        rf"(?<![\d.,]){re.escape(said)}(?![\d])", tail
    )


def _tagged(text: str) -> Extraction | None:
    start, end = text.rfind("<answer>"), text.rfind("</answer>")
    if not 0 <= start < end:
        return None
    said = text[start + len("<answer>") : end].strip()
    return Extraction(said, "answer_tag", _taken_back(text[end + len("</answer>") :], said))


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
    said = line.strip(" \t\r*_`\u3002").removesuffix("\u3067\u3059")
    return said, f"{line[sentence.end() :] if sentence else ''}\n{rest}"


def _marker(text: str) -> re.Match[str] | None:
    """The last answer marker."""
    hashes = deque(_HASHES.finditer(text), maxlen=1) if "####" in text else ()
    answer = _last_answer(text)
    if hashes and (answer is None or answer.start() < hashes[0].start()):
        return hashes[0]
    return answer or _last_foreign(text)


def _last_foreign(text: str) -> re.Match[str] | None:
    if text.isascii() and not any(word in text.lower() for word in _FOREIGN_PLAIN):
        return None
    found = deque(_FOREIGN.finditer(text), maxlen=1)
    return found[0] if found else None


def _last_answer(text: str) -> re.Match[str] | None:
    lower = text.lower()
    if len(lower) != len(text):
        found = deque(_ANSWER.finditer(text), maxlen=1)
        return found[0] if found else None
    position = len(lower)
    while (position := lower.rfind("answer", 0, position)) >= 0:
        if match := _ANSWER.match(text, position):
            return match
        if match := _HEADING_END.match(text, position):
            begin = text.rfind("\n", 0, position) + 1
            if position - begin < 40 and _HEADING.fullmatch(text, begin, position):
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
    if "</answer>" in text and (tagged := _tagged(text)):
        return tagged
    if (marked := _marked(text)) is not None:
        line, rest = marked
        return Extraction(line, "answer_line", _taken_back(rest, line))
    if labels and (label := label_line(text)):
        return Extraction(label, "label")
    if labels and (named := deque(_LABEL_NAMED.finditer(text), maxlen=1)):
        return Extraction(named[0].group(1), "label")
    if lenient and (number := last_number(text)):
        return Extraction(number, "last_number")
    return None
