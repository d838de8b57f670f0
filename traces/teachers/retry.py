"""When to ask again: what an error status means, how long to wait."""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Mapping
from typing import Literal

import msgspec

from traces.record import Status
from traces.teachers.rate_headers import Rate

BUSY_STATUSES = frozenset({429, 503, 529})
REFUSED_STATUSES = frozenset({400, 401, 402, 403, 404, 405, 410, 413, 422})


class Failure(msgspec.Struct, frozen=True):
    """One reply that is no answer.

    `kind` says what to do: `busy` endpoints are left alone for a while (all requests wait),
    `broken` replies are asked for again after a jittered delay, `refused` ones never, and
    `changed` ends the work: the endpoint is not what it was. `raw` is what came of a reply that may
    have been paid for; `billable` says that it may.
    """

    kind: Literal["busy", "broken", "refused", "changed"]
    status: Status
    error: str
    http_status: int = 0
    retry_after_s: float | None = None
    rate: Rate | None = None
    raw: str = ""
    billable: bool = False


def kind_of(http_status: int, headers: Mapping[str, str]) -> Literal["busy", "broken", "refused"]:
    """What an error status calls for. `x-should-retry` overrules all but a busy endpoint."""
    if http_status in BUSY_STATUSES:
        return "busy"
    advice = headers.get("x-should-retry", "").lower()
    if advice in ("true", "false"):
        return "broken" if advice == "true" else "refused"
    if http_status in REFUSED_STATUSES or 300 <= http_status < 400:
        return "refused"
    return "broken"


def retry_after_s(headers: Mapping[str, str], now_s: float | None = None) -> float | None:
    """Seconds the endpoint asks to wait, from `retry-after-ms` or `retry-after` (seconds or date).

    None where there is no such header, or none that makes sense (negative, not a number).
    """
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        try:
            seconds = float(value) * unit
        except ValueError:
            continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    try:
        date = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, date.timestamp() - (time.time() if now_s is None else now_s))
    except (TypeError, ValueError, OverflowError):
        return None


def full_jitter_s(failures: int, base_s: float, cap_s: float, rng: random.Random) -> float:
    """A delay drawn from 0 to `base_s` doubled with every failure, at most `cap_s`.

    Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    return rng.uniform(0.0, min(cap_s, base_s * 2.0 ** min(failures, 30)))


def pause_s(
    asked_s: float | None, cuts: int, base_s: float, cap_s: float, rng: random.Random
) -> float:
    """How long a busy endpoint is left alone: what it asked for, else doubling with every cut.

    `cuts` counts those since the last success. The first calls for no pause of its own: its lower
    width already holds requests back until some of those in flight are answered. Up to a fifth is
    added at random so that clients do not come back together.
    """
    if asked_s is None and not cuts:
        return 0.0
    wanted = base_s * 2.0 ** min(cuts - 1, 30) if asked_s is None else max(base_s, asked_s)
    return min(cap_s, wanted) * (1.0 + rng.uniform(0.0, 0.2))
