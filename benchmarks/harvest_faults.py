"""What is lost, asked twice or stored as an answer that is none, where an endpoint misbehaves.

Case `faults` of `benchmarks.harvest`: the harvester beside the loop that people write with the
openai package and its own retries. Each runs in a process of its own against the same server; what
counts is what is in its file or store at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from traces.errors import DistillError
from traces.harvest import harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Sampling
from traces.store import TraceStore
from traces.teachers.endpoint import EndpointTeacher

ROOT = Path(__file__).parents[1]
COUNT, CONCURRENCY = 600, 64
LONGEST_S = 90.0
SCENARIOS: dict[str, dict[str, Any]] = {
    "429 storm": {"caps": [8], "every_s": 3600.0, "retry_after": "1"},
    "error in a 200": {"fault": "error in a 200"},
    "reset in the body": {"fault": "reset in the body"},
    "truncated JSON": {"fault": "truncated JSON"},
    "kill -9 and resume": {},
}
"""Settings of `bench_server`. A fault hits the first two requests of one prompt in three."""

Serve = Callable[..., AbstractContextManager[str]]


def faults(serve: Serve, folder: Path) -> dict[str, float | str]:
    """Counts by scenario and client, and a table of them on stderr."""
    found: dict[str, float | str] = {}
    for scenario, settings in SCENARIOS.items():
        for client in ("ours", "openai"):
            work = folder / f"{scenario} {client}".replace(" ", "-")
            work.mkdir()
            with serve(low_s=0.02, high_s=0.1, bytes=2000, **settings) as url:
                ended = _run(client, url, work, kill=scenario.startswith("kill"))
                sent = _stats(url)["asked"]
            answers, broken = _stored(client, work)
            said = {
                "lost": COUNT - len(answers),
                "twice": sum(answers.values()) - len(answers),
                "no_answer": broken,
                "requests": sent,
            }
            found |= {f"{scenario}, {client}: {name}": value for name, value in said.items()}
            print(f"{scenario:20} {client:8} {ended:12}", *(f"{k} {v:g}" for k, v in said.items()),
                  file=sys.stderr)  # fmt: skip
    return found


def _run(client: str, url: str, work: Path, *, kill: bool) -> str:
    """How the client ended. `kill`: it is killed in the middle, and started again."""
    command = [sys.executable, str(Path(__file__)), client, url, str(work)]
    quiet = {**os.environ, "PYTHONPATH": str(ROOT)}
    log = (work / "log.txt").open("ab")
    for attempt in range(1 + kill):
        process = subprocess.Popen(
            command, cwd=work, env=quiet, stdout=log, stderr=log, start_new_session=True
        )
        try:
            until = time.monotonic() + LONGEST_S
            while process.poll() is None and time.monotonic() < until:
                if kill and not attempt and _stats(url)["ok"] >= COUNT / 2:
                    break
                time.sleep(0.02)
        finally:
            ended = process.poll()
            if ended is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return "not at end" if ended is None else f"exit {ended}"


def _stats(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url.replace("/v1", "/stats")) as reply:
        found: dict[str, float] = json.load(reply)
        return found


def _stored(client: str, work: Path) -> tuple[Counter[str], int]:
    """How often each question has an answer, and how many rows claim to be one and are not."""
    answers, broken = Counter[str](), 0
    if client == "ours":
        with TraceStore.open(work / "traces.sqlite", readonly=True) as store:
            for trace in store.traces(latest=False):
                if trace.status == "ok":
                    answers[trace.key] += 1
                    broken += not (trace.answer or "").endswith("42")
        return answers, broken
    out = work / "out.jsonl"
    for line in out.read_text().splitlines() if out.exists() else ():
        row = json.loads(line)
        if str(row["answer"]).endswith("42"):
            answers[row["question"]] += 1
        else:
            broken += 1
    return answers, broken


def _questions() -> list[str]:
    return [f"What is the digit sum of {number}, squared?" for number in range(COUNT)]


def _ours(url: str, work: Path) -> None:
    prompts = []
    for question in _questions():
        messages = (Message("user", question),)
        prompts.append(Prompt(prompt_id(messages, None), messages))
    teacher = EndpointTeacher(base_url=url, model="m", concurrency=CONCURRENCY, timeout_s=60.0)
    with TraceStore.open(work / "traces.sqlite") as store:
        harvest(prompts, teacher, store, samples=1, seed=0, sampling=Sampling(temperature=0.6))


def _openai(url: str, work: Path) -> None:
    """The loop that people write, with as many retries as ours, each line flushed."""
    import openai

    path = work / "out.jsonl"
    done = {json.loads(line)["question"] for line in path.open()} if path.exists() else set()

    async def run() -> None:
        client = openai.AsyncOpenAI(base_url=url, api_key="x", timeout=60.0, max_retries=5)
        gate = asyncio.Semaphore(CONCURRENCY)
        with path.open("a") as file:

            async def one(question: str) -> None:
                async with gate:
                    try:
                        reply = await client.chat.completions.create(
                            model="m", messages=[{"role": "user", "content": question}]
                        )
                        text = reply.choices[0].message.content
                    # TypeError: the package takes an error in a 200 for a reply without choices.
                    except (openai.OpenAIError, ValueError, TypeError) as error:
                        print(error)
                        return
                file.write(json.dumps({"question": question, "answer": text}) + "\n")
                file.flush()

            await asyncio.gather(*(one(q) for q in _questions() if q not in done))

    asyncio.run(run())


if __name__ == "__main__":
    run = {"ours": _ours, "openai": _openai}[sys.argv[1]]
    try:
        run(sys.argv[2], Path(sys.argv[3]))
    except DistillError as stopped:
        print(stopped)
        sys.exit(3)
