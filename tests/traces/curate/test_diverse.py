"""The order of unlike traces: beside farthest-point traversal, and within a budget."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tests.traces.curate.test_decide import item, outcome
from traces.curate.diverse import LEVELS, diverse_order
from traces.curate.select import Selection

Sketches = npt.NDArray[np.uint8]


def families(count: int, size: int, share: float, seed: int = 0) -> Sketches:
    """`count` families of `size` sketches that share about `share` of their places, shuffled."""
    chosen = np.random.default_rng(seed)
    first = chosen.integers(0, 256, (count, 1, 64))
    others = chosen.integers(0, 256, (count, size, 64))
    kept = chosen.random((count, size, 64)) < np.sqrt(share)  # of both of a pair
    found = np.where(kept, first, others).reshape(-1, 64).astype(np.uint8)
    return found[chosen.permutation(len(found))]


def agreement(sketches: Sketches) -> npt.NDArray[np.int64]:
    """Equal places of every two, none of one with itself. [N, N]"""
    same = (sketches[:, None] == sketches[None]).sum(2)
    np.fill_diagonal(same, 0)
    return np.asarray(same, np.int64)


def farthest_first(sketches: Sketches, count: int) -> list[int]:
    """The traversal itself, from the first row on."""
    same, found = agreement(sketches), [0]
    while len(found) < count:
        nearest = same[:, found].max(1)
        nearest[found] = 65
        found.append(int(nearest.argmin()))
    return found


@pytest.mark.parametrize("share", [0.35, 0.6, 0.9])
def test_one_of_each_family_comes_before_a_second_of_any(share: float) -> None:
    sketches = families(60, 12, share)
    order = diverse_order(sketches)
    assert sorted(order.tolist()) == list(range(720))
    first = agreement(sketches[order[:60]])
    assert first.max() < LEVELS[0]
    plain = agreement(sketches[:60])
    assert plain.max() >= 16  # as they come there are relatives among them


@pytest.mark.parametrize("count", [30, 90, 200])
def test_the_likest_two_are_at_most_a_level_worse_than_in_farthest_point_traversal(
    count: int,
) -> None:
    sketches = np.concatenate([families(30, 6, 0.8), families(60, 2, 0.4, 1)])
    best = int(agreement(sketches[farthest_first(sketches, count)]).max())
    found = int(agreement(sketches[diverse_order(sketches)[:count]]).max())
    allowed = next(level for level in LEVELS if level > best)
    assert found < LEVELS[LEVELS.index(allowed) + 1 if allowed != LEVELS[-1] else -1]


def test_equal_ones_come_last_and_few_or_none_are_fine() -> None:
    sketches = np.repeat(families(5, 1, 0.5), 3, axis=0)
    order = diverse_order(sketches).tolist()
    assert order == [0, 3, 6, 9, 12, 1, 2, 4, 5, 7, 8, 10, 11, 13, 14]
    assert diverse_order(sketches[:0]).tolist() == []
    assert diverse_order(sketches[:1]).tolist() == [0]


def test_a_budget_is_spent_on_unlike_traces_whatever_their_order() -> None:
    words = [f"{a}{b}" for a in "abcdefgh" for b in "stuvwxyz"]
    chosen = np.random.default_rng(3)
    texts = [" ".join(chosen.choice(words, 40)) for _ in range(6)]
    items = [
        item(f"k{n}-{m}", f"p{n}", answer=f"{text} " + " ".join(chosen.choice(words, 6)))
        for n, text in enumerate(texts)
        for m in range(5)
    ]
    wanted = Selection(tokens=6 * 47, by="diverse", mix={})
    options = {"near_duplicate": None, "selection": wanted}
    kept = {key for key, rule in outcome(items, **options).items() if not rule}
    assert {key.partition("-")[0] for key in kept} == {f"k{n}" for n in range(6)}
    again = outcome(items[::-1], **options)
    assert {key for key, rule in again.items() if not rule} == kept
