"""A harvest against a server that others wrote: `transformers serve` with SmolLM2-135M."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from traces.harvest import HarvestCounts, harvest
from traces.keys import prompt_id
from traces.models.builtin import ensure_builtin
from traces.record import Message, Prompt, Sampling, Trace
from traces.store import TraceStore
from traces.teachers.endpoint import EndpointTeacher

pytestmark = pytest.mark.slow
COUNT = 6


class Served(NamedTuple):
    """A server and the name of its model."""

    url: str
    model: str


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model = str(ensure_builtin("smollm2-135m-instruct"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=file)
    try:
        _wait(process, f"http://127.0.0.1:{port}/health", log)
        yield Served(f"http://127.0.0.1:{port}/v1", model)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)


def prompts(count: int) -> list[Prompt]:
    made = []
    for number in range(count):
        messages = (Message("user", f"What is {number} + {number}? Answer in one word."),)
        made.append(Prompt(prompt_id(messages, None), messages))
    return made


def run(path: Path, served: Served, count: int = COUNT, **changes: Any) -> HarvestCounts:
    teacher = EndpointTeacher(
        base_url=served.url, model=served.model, concurrency=1, timeout_s=120.0,
        profile="transformers_serve",
    )  # fmt: skip
    teacher.check()
    settings: dict[str, Any] = {"sampling": Sampling(max_tokens=6), "samples": 1, "seed": 0}
    with TraceStore.open(path / "traces.sqlite") as store:
        return harvest(prompts(count), teacher, store, **{**settings, **changes})


def stored(path: Path) -> list[Trace]:
    with TraceStore.open(path / "traces.sqlite", readonly=True) as store:
        return list(store.traces(latest=False))


def test_a_stopped_harvest_of_a_real_server_goes_on_where_it_stopped(
    tmp_path: Path, served: Served
) -> None:
    heard: list[Trace] = []
    first = run(tmp_path, served, on_trace=heard.append, stopping=lambda: len(heard) >= 2)
    second = run(tmp_path, served)
    assert 2 <= first.asked < COUNT
    assert (second.reused, second.asked) == (first.asked, COUNT - first.asked)
    rows = stored(tmp_path)
    assert len({row.key for row in rows}) == len(rows) == COUNT
    assert {row.status for row in rows} <= {"ok", "truncated"}
    assert all(row.content and row.usage.completion <= 6 for row in rows)
    assert {row.usage.source for row in rows} == {"server"}
    again = run(tmp_path, served)
    assert (again.reused, again.asked) == (COUNT, 0)


def test_logprobs_that_a_real_server_ignores_are_a_status(tmp_path: Path, served: Served) -> None:
    counts = run(tmp_path, served, 2, sampling=Sampling(max_tokens=6, top_logprobs=5))
    rows = stored(tmp_path)
    assert counts.asked == len(rows) == 2
    assert all(row.status == "logprobs_missing" or "logprobs_missing" in row.flags for row in rows)
    assert all(row.content and row.logprobs is None for row in rows)
