"""What a harvest may cost, in integer micro-dollars, and what it has cost.

Before a request is sent the most that it can cost is reserved; its usage settles that. So a cap is
never passed, whatever is in flight when it is reached. What was spent before is read from the
store, which is the ledger: a crash forgets nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from traces.errors import UserError
from traces.record import Message, Sampling, Trace, Usage
from traces.remembered import Spent, cost_of

MILLION = 1_000_000
BYTES_PER_TOKEN = 2
"""Prompts are taken to have a token for every two bytes: twice what they usually have."""
MESSAGE_TOKENS = 16
"""What a chat template adds to one message, at most."""


class Price(msgspec.Struct, frozen=True):
    """Micro-dollars for a million tokens: 0.55 dollars are 550_000.

    `cached` is for prompt tokens that the provider had in its cache; None means the full price.
    """

    prompt: int
    completion: int
    cached: int | None = None

    @classmethod
    def of_dollars(cls, prompt: float, completion: float, cached: float | None = None) -> Price:
        """The price from dollars per million tokens, as providers print it."""
        whole = None if cached is None else round(cached * MILLION)
        return cls(round(prompt * MILLION), round(completion * MILLION), whole)

    def cost(self, usage: Usage) -> int:
        """Micro-dollars of `usage`, rounded up."""
        cached = min(usage.cached or 0, usage.prompt)
        rate = self.prompt if self.cached is None else self.cached
        total = (usage.prompt - cached) * self.prompt + cached * rate
        return -(-(total + usage.completion * self.completion) // MILLION)


class Caps(msgspec.Struct, frozen=True):
    """What may be spent on one store, all runs together; `hours` is for one run. None: no cap."""

    usd: float | None = None
    tokens: int | None = None
    requests: int | None = None
    hours: float | None = None

    def any(self) -> bool:
        """Whether there is a cap at all."""
        return any(getattr(self, name) is not None for name in self.__struct_fields__)


class _Sum(msgspec.Struct):
    micro_usd: int = 0
    tokens: int = 0
    requests: int = 0


class Budget:
    """Reserves and settles. Not thread-safe.

    Raises:
        UserError: a cap in money without a price.
    """

    def __init__(
        self,
        caps: Caps,
        price: Price | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if caps.usd is not None and price is None:
            raise UserError(
                "a cap of money needs the price of the teacher's tokens",
                "write teacher.price: {prompt: ..., completion: ...} in dollars per million tokens",
            )
        self.caps = caps
        self.price = price
        self.spent = _Sum()
        self.reserved = _Sum()
        self.reached = ""
        """Which cap ended the harvest, in words."""
        self._open: dict[str, tuple[int, int]] = {}
        self._clock = clock
        self._start = clock()

    def count(self, spent: Spent) -> None:
        """Add what was spent before, such as `TraceStore.spent`."""
        self._add(self.spent, *spent)

    def reserve(
        self,
        key: str,
        messages: Sequence[Message],
        sampling: Sampling,
        tools: Sequence[dict[str, Any]] = (),
    ) -> bool:
        """Set the most aside that this request can cost; False where a cap forbids it."""
        worst = worst_usage(messages, sampling, tools)
        tokens = worst.prompt + worst.completion
        cost = self.price.cost(worst) if self.price is not None else 0
        if reason := self._over(cost, tokens):
            if not self._open:
                self.reached = reason
            return False
        self._open[key] = (cost, tokens)
        self._add(self.reserved, cost, tokens, 1)
        return True

    def settle(self, trace: Trace) -> None:
        """Put what the request cost in the place of what was set aside for it."""
        cost, tokens = self._open.pop(trace.key, (0, 0))
        self._add(self.reserved, -cost, -tokens, -1)
        self.count(cost_of(trace))

    def _over(self, cost: int, tokens: int) -> str:
        """The cap that a request of this size would pass, in words."""
        caps, spent, held = self.caps, self.spent, self.reserved
        if caps.hours is not None and self._clock() - self._start > caps.hours * 3600:
            self.reached = f"{caps.hours:g} hours"
            return self.reached
        if caps.requests is not None and spent.requests + held.requests + 1 > caps.requests:
            return f"{caps.requests} requests"
        if caps.tokens is not None and spent.tokens + held.tokens + tokens > caps.tokens:
            return f"{caps.tokens} tokens"
        money = spent.micro_usd + held.micro_usd + cost
        if caps.usd is not None and money > round(caps.usd * MILLION):
            return f"{caps.usd:g} dollars"
        return ""

    @staticmethod
    def _add(total: _Sum, cost: int, tokens: int, requests: int) -> None:
        total.micro_usd += cost
        total.tokens += tokens
        total.requests += requests


def worst_usage(
    messages: Sequence[Message], sampling: Sampling, tools: Sequence[dict[str, Any]] = ()
) -> Usage:
    """The most tokens that one request can take."""
    text = sum(len((m.content + (m.reasoning or "")).encode(errors="replace")) for m in messages)
    told = [*tools, *(one for m in messages for one in (*m.tool_calls, *m.reasoning_details))]
    text += len(msgspec.json.encode(told)) if told else 0
    prompt = -(-text // BYTES_PER_TOKEN) + MESSAGE_TOKENS * len(messages)
    return Usage(prompt, sampling.max_tokens, source="estimated")
