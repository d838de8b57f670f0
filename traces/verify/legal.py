"""Legal answers: what they cite. A made-up authority is wrong, a required one must be there.

The reference is JSON: `{"must_cite": [...], "allowed": [...]}`. Citations to U.S. reporters and
codes are read by patterns of our own and normalised: spacing, periods, section signs, pin cites and
years make no difference. Without `allowed` any authority may be cited.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from traces.verify.check import NO_ANSWER, Check, printable, unknown

VERIFIER = "legal@2"
_REPORTERS = (
    r"U\.?\s?S\.?(?!\s?C)|S\.?\s?Ct\.?|L\.?\s?Ed\.?(?:\s?2d)?|F\.?\s?(?:2d|3d|4th)|F\.?\s?App'?x\.?|"
    r"F\.?\s?Supp\.?(?:\s?(?:2d|3d))?|F\.?(?=\s\d)|B\.?\s?R\.?(?=\s\d)|F\.?\s?R\.?\s?D\.?|"
    r"(?:A|P|N\.?\s?E|N\.?\s?W|S\.?\s?E|S\.?\s?W|So|Cal\.?\s?Rptr)\.?\s?(?:2d|3d)?|"
    r"N\.?\s?Y\.?\s?S?\.?\s?(?:2d|3d)?|Cal\.?\s?(?:App\.?\s?)?(?:2d|3d|4th|5th)?|Ill\.?\s?2d|"
    r"Mass\.?|Ohio\s?St\.?\s?(?:2d|3d)?|WL|U\.?\s?S\.?\s?LEXIS"
)
_CASE = re.compile(rf"\b(\d{{1,4}})\s+({_REPORTERS})\s+(\d{{1,8}})(?![\d,]*\d)")
_CODE = re.compile(
    r"\b(\d{1,2})\s+(U\.?\s?S\.?\s?C\.?(?:\s?A\.?)?|C\.?\s?F\.?\s?R\.?)\s*"
    r"(?:\u00a7+|[Ss]ec(?:tion|s?\.)?s?)?\s*(\d[\w.-]{0,20}(?:\([\w]{1,5}\)){0,6})"
)
_SQUEEZE = re.compile(r"[\s.']+")


def citations(text: str) -> list[str]:
    """The authorities that `text` cites, normalised, each once, in order."""
    found = [(m.start(), _normal(m[1], m[2], m[3])) for m in _CASE.finditer(text)]
    found += [(m.start(), _statute(m[1], m[2], m[3])) for m in _CODE.finditer(text)]
    return list(dict.fromkeys(citation for _, citation in sorted(found)))


def _normal(volume: str, reporter: str, page: str) -> str:
    return f"{volume} {_SQUEEZE.sub('', reporter).lower()} {page}"


def _statute(title: str, code: str, section: str) -> str:
    name = _SQUEEZE.sub("", code).lower().removesuffix("a")
    return f"{title} {name} {section.rstrip('.-').lower()}"


def check_legal(gold: str, answer: str) -> Check:
    """Wrong for an authority outside `allowed` or a missing `must_cite`, otherwise right."""
    return _check(gold, answer)._replace(verifier=VERIFIER)


def _check(gold: str, answer: str) -> Check:
    try:
        value = json.loads(gold)
    except (ValueError, RecursionError) as error:
        return unknown(printable(f"the reference is no JSON: {error}", 200))
    if not isinstance(value, dict) or not (value.keys() & {"must_cite", "allowed"}):
        return unknown("the reference needs `must_cite` or `allowed`")
    must, allowed = value.get("must_cite", []), value.get("allowed")
    for name, part in (("must_cite", must), ("allowed", allowed or [])):
        if not isinstance(part, list) or not all(isinstance(item, str) for item in part):
            return unknown(f"the reference's {name} is no list of texts")
    if not must and allowed is None:
        return unknown("the reference asks for nothing")
    if not answer.strip():
        return unknown(NO_ANSWER)
    cited = citations(answer)
    shown = printable("; ".join(cited))
    if allowed is not None:
        known = {key for item in (*allowed, *must) for key in _keys(item)}
        plain = _SQUEEZE.sub("", " ".join(allowed)).lower()
        for citation in cited:
            if not _among(citation, known) and _SQUEEZE.sub("", citation) not in plain:
                return Check("wrong", "legal", f"cites {citation}, which is not allowed", shown)
    for item in must:
        if not _is_cited(item, cited, answer):
            return Check("wrong", "legal", f"does not cite {printable(item, 100)}", shown)
    return Check("right", "legal", f"{len(cited)} citations", shown)


def _keys(item: str) -> Sequence[str]:
    return citations(item) or [" ".join(item.lower().split())]


def _among(citation: str, known: set[str]) -> bool:
    """Whether a citation is known, or a subdivision of a known section."""
    return citation in known or any(citation.startswith(f"{key}(") for key in known)


def _is_cited(item: str, cited: list[str], answer: str) -> bool:
    wanted = citations(item)
    if not wanted:  # a name or a rule that no pattern reads
        return " ".join(item.lower().split()) in " ".join(answer.lower().split())
    return any(_among(citation, {key}) for key in wanted for citation in cited)
