"""Angles in degrees and in radians."""

from __future__ import annotations

import re

_DEGREES = re.compile(r"\^?\s*\{?\s*\\circ\s*\}?|\u00b0|\s\bdegrees?\b")
_TEMPERATURE = re.compile(r"(?:circ|\u00b0)\s*\}?\s*[CFK]")
_RADIANS = re.compile(r"\brad(?:ians?)?\b")


def in_degrees(text: str) -> bool:
    """Whether a cleaned text speaks of degrees of an angle."""
    return bool(_DEGREES.search(text)) and not _TEMPERATURE.search(text)


def says_radians(text: str) -> bool:
    """Whether it names radians."""
    return "rad" in text and bool(_RADIANS.search(text))


def has_pi(text: str) -> bool:
    """Whether it is written with pi, as angles in radians are."""
    return "\\pi" in text or "\u03c0" in text


def in_radians(text: str) -> str:
    """The same angle as a number of radians."""
    if in_degrees(text):
        return f"\\frac{{({_DEGREES.sub('', text)}) \\pi}}{{180}}"
    return _RADIANS.sub("", text)
