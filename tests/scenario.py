"""A harvest against the fault server, and the books that must agree after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.fault_server import FaultServer
from traces.harvest import HarvestCounts, harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Sampling, Trace
from traces.store import TraceStore
from traces.teachers.endpoint import EndpointTeacher


def prompts(count: int) -> list[Prompt]:
    made = []
    for number in range(count):
        messages = (Message("user", f"question {number}"),)
        made.append(Prompt(prompt_id(messages, None), messages))
    return made


def endpoint(server: FaultServer, **changes: Any) -> EndpointTeacher:
    settings: dict[str, Any] = {"timeout_s": 30.0, "backoff_s": 0.02, "backoff_max_s": 0.3}
    return EndpointTeacher(**{"base_url": server.url, "model": "m", **settings, **changes})


def stored(path: Path) -> list[Trace]:
    with TraceStore.open(path / "traces.sqlite", readonly=True) as store:
        return list(store.traces(latest=False))


def run(path: Path, teacher: EndpointTeacher, count: int, **changes: Any) -> HarvestCounts:
    settings: dict[str, Any] = {"samples": 1, "sampling": Sampling(max_tokens=50), "seed": 0}
    with TraceStore.open(path / "traces.sqlite") as store:
        return harvest(prompts(count), teacher, store, **{**settings, **changes})


def books_agree(path: Path, server: FaultServer, counts: HarvestCounts) -> None:
    """Every prompt answered once, by a reply that the server knows to have given once."""
    rows = stored(path)
    assert len({row.key for row in rows}) == len(rows) == counts.requested
    assert {row.status for row in rows} == {"ok"}
    assert sum(server.served.values()) == counts.asked == len(rows)
    assert set(server.served.values()) == {1}
