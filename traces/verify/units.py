r"""Units of measure as an exact factor to SI and the powers of its base units.

Read from plain text and LaTeX: `m/s^2`, `kg m s^{-1}`, `J/(mol K)`, `km/h`, `\mu m`, `^\circ C`.
"""

from __future__ import annotations

import functools
import re
from fractions import Fraction
from typing import NamedTuple

BASE = ("m", "kg", "s", "A", "K", "mol", "cd", "rad", "bit")
Dimension = tuple[int, ...]

# Name: factor to SI, and SI base units. Prefixes are allowed for the first table only.
_PREFIXED = {
    "m": ("1", "m"), "g": ("1/1000", "kg"), "s": ("1", "s"), "A": ("1", "A"), "K": ("1", "K"),
    "mol": ("1", "mol"), "cd": ("1", "cd"), "rad": ("1", "rad"), "Hz": ("1", "s-1"),
    "N": ("1", "kg m s-2"), "Pa": ("1", "kg m-1 s-2"), "J": ("1", "kg m2 s-2"),
    "W": ("1", "kg m2 s-3"), "C": ("1", "A s"), "V": ("1", "kg m2 s-3 A-1"),
    "F": ("1", "kg-1 m-2 s4 A2"), "ohm": ("1", "kg m2 s-3 A-2"), "S": ("1", "kg-1 m-2 s3 A2"),
    "Wb": ("1", "kg m2 s-2 A-1"), "T": ("1", "kg s-2 A-1"), "H": ("1", "kg m2 s-2 A-2"),
    "L": ("1/1000", "m3"), "l": ("1/1000", "m3"), "M": ("1000", "mol m-3"),
    "eV": ("1.602176634e-19", "kg m2 s-2"), "cal": ("4.184", "kg m2 s-2"),
    "bar": ("100000", "kg m-1 s-2"), "Wh": ("3600", "kg m2 s-2"), "t": ("1000", "kg"),
    "Bq": ("1", "s-1"), "Gy": ("1", "m2 s-2"), "Sv": ("1", "m2 s-2"), "lm": ("1", "cd"),
    "lx": ("1", "cd m-2"), "bit": ("1", "bit"), "B": ("8", "bit"),
    "pc": ("3.0856775814913673e16", "m"),
}  # fmt: skip
_PLAIN = {
    "min": ("60", "s"), "h": ("3600", "s"), "hr": ("3600", "s"), "d": ("86400", "s"),
    "day": ("86400", "s"), "week": ("604800", "s"), "year": ("31557600", "s"),
    "yr": ("31557600", "s"), "in": ("0.0254", "m"), "ft": ("0.3048", "m"), "yd": ("0.9144", "m"),
    "mi": ("1609.344", "m"), "angstrom": ("1e-10", "m"), "ly": ("9460730472580800", "m"),
    "AU": ("149597870700", "m"), "lb": ("0.45359237", "kg"), "oz": ("0.028349523125", "kg"),
    "u": ("1.66053906660e-27", "kg"), "amu": ("1.66053906660e-27", "kg"),
    "Da": ("1.66053906660e-27", "kg"), "atm": ("101325", "kg m-1 s-2"),
    "torr": ("101325/760", "kg m-1 s-2"), "mmHg": ("101325/760", "kg m-1 s-2"),
    "psi": ("6894.757293168", "kg m-1 s-2"), "hp": ("745.69987158227022", "kg m2 s-3"),
    "gal": ("0.003785411784", "m3"), "ha": ("10000", "m2"), "acre": ("4046.8564224", "m2"),
    "mph": ("0.44704", "m s-1"), "kph": ("5/18", "m s-1"),
    "rpm": ("0.104719755119659775", "rad s-1"), "degC": ("1", "K"), "degF": ("5/9", "K"),
    "erg": ("1e-7", "kg m2 s-2"), "dyn": ("1e-5", "kg m s-2"),
    "lbf": ("4.4482216152605", "kg m s-2"), "cc": ("1e-6", "m3"), "knot": ("1852/3600", "m s-1"),
}  # fmt: skip
_OFFSETS = {"degC": Fraction("273.15"), "degF": Fraction(45967, 180)}
_PREFIXES = {
    "f": -15, "p": -12, "n": -9, "u": -6, "m": -3, "c": -2, "d": -1, "h": 2, "k": 3, "M": 6,
    "G": 9, "T": 12, "P": 15,
}  # fmt: skip
_LONG_PREFIXES = {
    "nano": "n", "micro": "u", "milli": "m", "centi": "c", "deci": "d", "kilo": "k", "mega": "M",
    "giga": "G", "tera": "T",
}  # fmt: skip
_LONG = {
    "meter": "m", "metre": "m", "gram": "g", "second": "s", "sec": "s", "ampere": "A", "amp": "A",
    "kelvin": "K", "mole": "mol", "candela": "cd", "radian": "rad", "hertz": "Hz", "newton": "N",
    "pascal": "Pa", "joule": "J", "watt": "W", "coulomb": "C", "volt": "V", "farad": "F",
    "siemens": "S", "weber": "Wb", "tesla": "T", "henry": "H", "liter": "L", "litre": "L",
    "molar": "M", "electronvolt": "eV", "calorie": "cal", "minute": "min", "hour": "h",
    "inch": "in", "inches": "in", "foot": "ft", "feet": "ft", "yard": "yd", "mile": "mi",
    "pound": "lb", "lbs": "lb", "ounce": "oz", "atmosphere": "atm", "gallon": "gal",
    "hectare": "ha", "celsius": "degC", "fahrenheit": "degF", "byte": "B", "tonne": "t",
    "mins": "min", "hrs": "h", "yrs": "yr", "kmh": "kph", "ohms": "ohm", "hectares": "ha",
}  # fmt: skip
_MARKS = (
    (re.compile(r"\^?\s*\{?\s*\\circ\s*\}?\s*|\u00b0\s*|\bdeg(?:rees?)?\s+"), " deg"),
    (re.compile(r"deg\s*(?=[CFcf])"), "deg"),
    (re.compile(r"\\(?:mu|micro)(?![a-z])\s*|[\u00b5\u03bc]"), "u"),
    (re.compile(r"\\Omega(?![a-z])|[\u03a9\u2126]"), "ohm"),
    (re.compile(r"\\(?:AA|angstrom)(?![a-z])|\u00c5"), "angstrom"),
    (re.compile(r"\\cdot(?![a-z])|\\times(?![a-z])|[\u00b7\u22c5*~]|\\[,;: ]"), " "),
    (re.compile(r"\u00b2"), "^2"),
    (re.compile(r"\u00b3"), "^3"),
    (re.compile(r"\u207b\u00b9"), "^-1"),
)
_POWERED = re.compile(r"\b(square|cubic)\s+([A-Za-z]+)|\b([A-Za-z]+)\s+(squared|cubed)", re.I)
_TOKEN = re.compile(
    r"\s*(?:([A-Za-z]+)\s*(?:\^\s*(?:\{\s*([-+]?\d)\s*\}|\(?([-+]?\d)\)?)|([-+]?\d))?|(/|\bper\b)|([()]))"
)
_WORDS = re.compile(r"[A-Za-z]+(?: [A-Za-z]+)*")
_QUALIFIERS = ("per", "square", "cubic", "squared", "cubed")
_DIVISION = re.compile(r"\\frac\s?\{([^{}]*)\}\s?\{([^{}]*)\}")


class Unit(NamedTuple):
    """`value * factor + offset` is SI. `dimension` are the powers of `BASE`."""

    factor: Fraction
    dimension: Dimension
    offset: Fraction = Fraction(0)


def read_unit(text: str) -> Unit | None:
    """The unit that `text` (cleaned) is, or None where it is none."""
    return _read(text) if 0 < len(text) <= 80 else None


@functools.lru_cache(maxsize=256)
def _read(text: str) -> Unit | None:
    if _WORDS.fullmatch(text) and not all(map(_in_unit, text.split())):
        return None
    text = _DIVISION.sub(r"\1/(\2)", text)
    for pattern, plain in _MARKS:
        text = pattern.sub(plain, text)
    text = _POWERED.sub(_power, text).strip().rstrip(".")
    factor, dimension, offset = Fraction(1), [0] * len(BASE), Fraction(0)
    sign, inside, position, count = 1, False, 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None or match.end() == position:
            return None
        position = match.end()
        if match[6]:
            if match[6] == ")" and inside:
                sign = 1
            inside = match[6] == "("
        elif match[5] or match[1] == "per":
            sign = -1
        else:
            unit = _named(match[1])
            if unit is None:
                return None
            power = sign * int(match[2] or match[3] or match[4] or 1)
            factor *= unit.factor**power
            dimension = [d + power * u for d, u in zip(dimension, unit.dimension, strict=True)]
            offset, count = unit.offset, count + 1
            if not inside and sign < 0 and "(" not in text:
                sign = 1 if text.count("/") > 1 else sign
    if not count:
        return None
    return Unit(factor, tuple(dimension), offset if count == 1 else Fraction(0))


def _in_unit(word: str) -> bool:
    """Whether a word may stand in the name of a unit."""
    return bool(_named(word) or word[:3] == "deg" or word.lower() in _QUALIFIERS)


def _power(match: re.Match[str]) -> str:
    name, word = match[2] or match[3], (match[1] or match[4]).lower()
    return f"{name}^{2 if word in ('square', 'squared') else 3}"


@functools.lru_cache(maxsize=512)
def _named(name: str) -> Unit | None:
    if name in _PLAIN:
        return _made(_PLAIN[name], name)
    if name in _PREFIXED:
        return _made(_PREFIXED[name], name)
    if name == "deg":
        return Unit(Fraction("0.017453292519943295"), _dimension("rad"))
    if name[1:] in _PREFIXED and name[0] in _PREFIXES:
        unit = _made(_PREFIXED[name[1:]], name[1:])
        return unit._replace(factor=unit.factor * Fraction(10) ** _PREFIXES[name[0]])
    return _long(name.lower())


def _long(name: str) -> Unit | None:
    for word in (name, name.removesuffix("s"), name.removesuffix("es")):
        if word in _LONG:
            return _named(_LONG[word])
        if len(word) > 2 and word in _PLAIN:
            return _made(_PLAIN[word], word)
        for prefix, short in _LONG_PREFIXES.items():
            if word.startswith(prefix) and word[len(prefix) :] in _LONG:
                return _named(short + _LONG[word[len(prefix) :]])
    return None


def _made(entry: tuple[str, str], name: str) -> Unit:
    top, _, bottom = entry[0].partition("/")
    factor = Fraction(top) / Fraction(bottom or 1)
    return Unit(factor, _dimension(entry[1]), _OFFSETS.get(name, Fraction(0)))


def _dimension(words: str) -> Dimension:
    powers = dict.fromkeys(BASE, 0)
    for word in words.split():
        match = re.fullmatch(r"([A-Za-z]+)(-?\d)?", word)
        assert match is not None
        powers[match[1]] += int(match[2] or 1)
    return tuple(powers.values())
