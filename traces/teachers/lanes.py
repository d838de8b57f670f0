"""Several endpoints of one teacher: which of them gets the next request."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence

from traces.teachers.admission import Admission
from traces.teachers.chat_reply import Reply
from traces.teachers.retry import Failure

Send = Callable[[bytes, int], Awaitable[Reply | Failure]]

STICKY = 0.25
"""So much fuller than another the home of a prompt may be before a request goes elsewhere."""


class Lane:
    """One endpoint: how to send to it, and its gate."""

    def __init__(self, name: str, send: Send, gate: Admission) -> None:
        self.name = name
        self.send = send
        self.gate = gate


def choose(lanes: Sequence[Lane], home: int, rng: random.Random) -> Lane:
    """The lane for a request whose prompt has the number `home`.

    The samples of one prompt go to one endpoint, whose prefix cache then holds the prompt, unless a
    second one taken at random is clearly less loaded ("the power of two choices"). An endpoint with
    an outage, or that is away, gets only the probes that its gate lets in.
    """
    if len(lanes) == 1:
        return lanes[0]
    for lane in lanes:
        if not lane.gate.well and lane.gate.free:
            return lane
    well = [lane for lane in lanes if lane.gate.well] or lanes
    mine, other = well[home % len(well)], rng.choice(well)
    if other.gate.free and not mine.gate.free:
        return other
    if not mine.gate.free:
        return next((lane for lane in well if lane.gate.free), mine)
    return other if mine.gate.load > other.gate.load + STICKY else mine
