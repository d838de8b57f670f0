from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.budget import Budget, Caps, Price, worst_usage
from traces.errors import UserError
from traces.record import Message, Sampling, Trace, Usage
from traces.remembered import cost_of

MESSAGES = (Message("user", "What is two and two?"),)
SAMPLING = Sampling(max_tokens=1000)
PRICE = Price.of_dollars(0.55, 2.19)


def trace(key: str, cost: int = 0, usage: Usage = Usage()) -> Trace:  # noqa: B008
    return Trace(key, "p", 0, 1, "ok", "t", SAMPLING, usage=usage, cost_micro_usd=cost)


def test_a_cost_is_whole_micro_dollars_rounded_up() -> None:
    assert Price(550_000, 2_190_000) == PRICE
    assert PRICE.cost(Usage(1_000_000, 1_000_000)) == 2_740_000
    assert PRICE.cost(Usage(1, 0)) == 1
    assert PRICE.cost(Usage()) == 0
    assert Price(1_000_000, 0, cached=100_000).cost(Usage(10, 0, cached=10)) == 1


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_cost_is_never_below_the_exact_one(p: int, c: int, rate: int, out: int) -> None:
    cost = Price(rate, out).cost(Usage(p, c))
    assert 0 <= cost * 1_000_000 - (p * rate + c * out) < 1_000_000


def test_money_without_a_price_asks_for_one() -> None:
    with pytest.raises(UserError, match="needs the price") as caught:
        Budget(Caps(usd=1.0), None)
    assert "teacher.price" in caught.value.hint


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2196)), max_size=60))
def test_a_cap_is_never_passed_whatever_is_in_flight(steps: list[tuple[bool, int]]) -> None:
    budget = Budget(Caps(usd=0.02), PRICE)
    in_flight: list[str] = []
    for number, (send, cost) in enumerate(steps):
        if send and budget.reserve(str(number), MESSAGES, SAMPLING):
            in_flight.append(str(number))
        elif in_flight:
            budget.settle(trace(in_flight.pop(), cost))
        worst = PRICE.cost(worst_usage(MESSAGES, SAMPLING))
        assert budget.spent.micro_usd + len(in_flight) * worst <= 20_000
        assert budget.reserved.requests == len(in_flight)


def test_what_is_in_flight_may_make_room_so_only_an_empty_flight_reaches_the_cap() -> None:
    budget = Budget(Caps(tokens=1500), None)
    assert budget.reserve("a", MESSAGES, SAMPLING)
    assert not budget.reserve("b", MESSAGES, SAMPLING)
    assert budget.reached == ""
    budget.settle(trace("a", usage=Usage(20, 30)))
    assert budget.reserve("b", MESSAGES, SAMPLING)
    budget.settle(trace("b", usage=Usage(20, 980)))
    assert not budget.reserve("c", MESSAGES, SAMPLING)
    assert budget.reached == "1500 tokens"


def test_requests_and_hours_are_capped_and_earlier_runs_count() -> None:
    now = [0.0]
    budget = Budget(Caps(requests=2, hours=1.0), None, clock=lambda: now[0])
    budget.count(cost_of(trace("before")))
    assert budget.reserve("a", MESSAGES, SAMPLING)
    budget.settle(trace("a"))
    assert not budget.reserve("b", MESSAGES, SAMPLING)
    assert budget.reached == "2 requests"
    now[0] = 3601.0
    budget = Budget(Caps(hours=1.0), None, clock=iter([0.0, 3601.0]).__next__)
    assert not budget.reserve("a", MESSAGES, SAMPLING)
    assert budget.reached == "1 hours"
