"""Which words beside a number leave its meaning alone.

`42 apples` is 42 where somebody counts apples, `5 asdf qwer` is noise. A word is understood where
the question or the reference has it, or where it is one of the common words below: what school
problems count, units of measure, and the words of "the answer is". All others make a verdict
unknown rather than right.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[a-z]{2,}")
_COMMON = frozenset(
    """
    the an is are was be will of in on at for by with as so it its this that there here we you he
    she they his her their has have had get gets got need needs would should can all total
    altogether overall sum value values answer answers result final therefore thus hence equals
    equal exactly number numbers amount quantity count solution solutions unique correct
    left remaining remain remains leftover together combined each per every more
    only just how many much per units unit sq square cubic
    one
    apple apples orange oranges banana bananas egg eggs cake cakes cookie cookies pie pies pizza
    pizzas slice slices candy candies sweets chocolate chocolates bar bars fruit fruits vegetable
    vegetables tomato tomatoes potato potatoes carrot carrots bread loaves loaf sandwich sandwiches
    cup cups glass glasses bottle bottles jar jars can cans bag bags box boxes basket baskets crate
    crates pack packs packet packets package packages bowl bowls plate plates
    book books page pages chapter chapters story stories letter letters word words pen pens pencil
    pencils crayon crayons sticker stickers stamp stamps card cards marble marbles toy toys ball
    balls doll dolls game games puzzle puzzles piece pieces item items object objects thing things
    flower flowers rose roses tree trees plant plants seed seeds leaf leaves
    dog dogs cat cats bird birds fish horse horses cow cows sheep chicken chickens duck ducks pig
    pigs rabbit rabbits animal animals legs leg eye eyes
    car cars bus buses train trains bike bikes bicycle bicycles truck trucks boat boats wheel wheels
    person people man men woman women boy boys girl girls child children kid kids student students
    teacher teachers friend friends member members guest guests player players team teams worker
    workers family families customer customers passenger passengers voter voters citizen citizens
    inhabitants adult adults
    shirt shirts shoe shoes sock socks hat hats dress dresses pair pairs set sets ticket tickets
    coin coins note notes bill bills dollar dollars cent cents euro euros pound pounds yen rupee
    rupees peso pesos usd eur gbp penny pennies nickel nickels dime dimes quarters buck bucks
    way ways case cases time times step steps point points goal goals score scores mark marks
    question questions problem problems arrangement arrangements combination combinations
    permutation permutations outcome outcomes choice choices possibility possibilities subset
    subsets element elements integer integers digit digits factor factors divisor divisors term
    terms row rows column columns group groups class classes part parts side sides angle angles
    vertex vertices edge edges face faces triangle triangles rectangle rectangles tile tiles room
    rooms house houses seat seats table tables chair chairs floor floors street streets pieces
    second seconds sec secs minute minutes min mins hour hours hr hrs day days week weeks weekday
    month months year years yr yrs decade decades century centuries old age
    mm cm dm km meter meters metre metres centimeter centimeters centimetre centimetres kilometer
    kilometers kilometre kilometres millimeter millimeters inch inches foot feet ft yard yards mile
    miles mi mg kg gram grams kilogram kilograms ton tons tonne tonnes oz ounce ounces lb lbs ml
    cl dl liter liters litre litres gallon gallons quart quarts pint pints tablespoon tablespoons
    teaspoon teaspoons degree degrees percent mph kmh acre acres hectare hectares squared cubed
    joule joules watt watts newton newtons volt volts amp amps ohm ohms hz kj kw mole moles mol
    calorie calories degc kelvin radian radians rad sq
    """.split()  # noqa: SIM905
)


TELLING = frozenset(
    """
    not no less more fewer least most than half third quarter twice double million billion
    thousand hundred dozen between about approximately around roughly or and to minus negative
    plus over times divided squared cubed root sqrt pi power sin cos tan log ln exp mod base
    frac ne neq le leq ge geq pm infty too but except without never wrong incorrect maybe
    perhaps possibly nearly almost under above below beyond another different other either
    neither cannot anything something off short true false yes nicht kein keine nein oder aber
    etwa circa ca mehr weniger mindestens pas non ou mais environ moins presque nunca pero
    aproximadamente casi menos unos
    ungef\u00e4hr m\u00e1s \u043d\u0435 \u043d\u0435\u0442 \u0438\u043b\u0438
    \u043e\u043a\u043e\u043b\u043e \u043f\u0440\u0438\u043c\u0435\u0440\u043d\u043e
    """.split()  # noqa: SIM905
) | frozenset("\u4e0d\u6ca1\u6c92\u975e\u65e0\u7121\u7ea6\u7d04\u6216\u8d85\u8fd1")
"""Words that change what the number beside them means."""


def strange(words: Iterable[str], *texts: str) -> list[str]:
    """The words (lower case) that are neither common nor in one of `texts`, sorted."""
    others = [word for word in words if word not in _COMMON]
    if not others:
        return []
    lower = [text.lower() for text in texts]
    known = {_stem(word) for text in lower for word in _WORD.findall(text)}
    return sorted(w for w in others if _stem(w) not in known and not _in_script(w, lower))


def _in_script(word: str, texts: Iterable[str]) -> bool:
    """Whether a word with letters beyond a to z stands in a text: scripts without spaces too."""
    return not word.isascii() and any(word in text for text in texts)


def _stem(word: str) -> str:
    return word[:-1] if word.endswith("s") and len(word) > 3 else word
