"""What the harvester can take: rate, CPU, slot use, bytes, memory, resume; a peer beside it.

python -m benchmarks.harvest [--quick] [--curator PYTHON] [CASE ...]
python -m benchmarks.harvest --soak SECONDS | --soak-traces N

Each case runs a server process (`bench_server`) and the harvester in another, into a real store;
traces count when they are on disk. `peer` is the plain loop that people write: the openai package
with a semaphore and a JSON Lines file, where it is installed. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import heapq
import json
import os
import platform
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import harvest_faults, harvest_many
from benchmarks.harvest_many import peak_mib
from traces.harvest import harvest
from traces.keys import prompt_id
from traces.plan import Plan
from traces.record import Message, Prompt, Sampling
from traces.rows import StructFile, write_structs
from traces.store import TraceStore
from traces.teachers.endpoint import EndpointTeacher

ROOT = Path(__file__).parents[1]
Figures = dict[str, float | str]


@contextlib.contextmanager
def server(**settings: Any) -> Iterator[str]:
    """The address of a server with these settings."""
    with tempfile.TemporaryDirectory() as folder:
        port = Path(folder) / "port"
        command = [sys.executable, "-m", "benchmarks.bench_server", str(port), json.dumps(settings)]
        process = subprocess.Popen(command, cwd=ROOT)
        try:
            while not port.exists() or not port.read_text():
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port.read_text()}/v1"
        finally:
            process.kill()
            process.wait()


def stats(url: str) -> dict[str, float]:
    with urllib.request.urlopen(url.replace("/v1", "/stats")) as reply:
        found: dict[str, float] = json.load(reply)
        return found


def prompts(count: int) -> Iterator[Prompt]:
    for number in range(count):
        messages = (Message("user", f"What is the digit sum of {number}, squared?"),)
        yield Prompt(prompt_id(messages, None), messages)


def prompt_file(count: int, folder: Path) -> StructFile[Prompt]:
    """So many prompts in a file, as a run has them."""
    write_structs(folder / "prompts.jsonl", prompts(count))
    return StructFile(folder / "prompts.jsonl", Prompt)


def measured(
    url: str, count: int, concurrency: int, folder: Path, **sampling: Any
) -> tuple[float, float, Any]:
    """Wall seconds, CPU seconds and counts of one harvest, every trace on disk."""
    teacher = EndpointTeacher(base_url=url, model="m", concurrency=concurrency, timeout_s=120.0)
    asked = prompt_file(count, folder)
    wall, cpu = time.perf_counter(), time.process_time()
    with TraceStore.open(folder / "traces.sqlite") as store:
        counts = harvest(
            asked, teacher, store, samples=1, seed=0,
            sampling=Sampling(temperature=0.6, max_tokens=4096, **sampling),
        )  # fmt: skip
    return time.perf_counter() - wall, time.process_time() - cpu, counts


def rate(quick: bool, folder: Path) -> Figures:
    """Durable traces per second at concurrency 512, 100 to 500 ms, 10 KB; floor 1,707."""
    count = 2000 if quick else 20_000
    with server(low_s=0.1, high_s=0.5, bytes=10_240) as url:
        wall, cpu, counts = measured(url, count, 512, folder)
    assert counts.by_status == {"ok": count}, counts
    return {"traces_per_s": count / wall, "cpu_s_per_1000": 1000 * cpu / count}


def peer(quick: bool, folder: Path) -> Figures:
    """The same with the openai package, a semaphore and a JSON Lines file."""
    try:
        import openai
    except ImportError:
        return {"peer": "the openai package is not installed"}
    count = 500 if quick else 5000

    async def run(url: str) -> None:
        client = openai.AsyncOpenAI(base_url=url, api_key="x", timeout=120.0)
        gate = asyncio.Semaphore(512)
        with (folder / "peer.jsonl").open("w") as file:

            async def one(prompt: Prompt) -> None:
                async with gate:
                    reply = await client.chat.completions.create(
                        model="m",
                        messages=[{"role": "user", "content": prompt.messages[0].content}],
                    )
                file.write(reply.model_dump_json() + "\n")

            await asyncio.gather(*(one(prompt) for prompt in prompts(count)))

    with server(low_s=0.1, high_s=0.5, bytes=10_240) as url:
        wall, cpu = time.perf_counter(), time.process_time()
        asyncio.run(run(url))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"peer_traces_per_s": count / wall, "peer_cpu_s_per_1000": 1000 * cpu / count}


CURATOR = """
import json, os, sys, time
import tiktoken  # fetches its tables from the net; bytes are as good for counting here
bytewise = tiktoken.Encoding("bytes", pat_str=r"\\s+|\\S+", special_tokens={},
                             mergeable_ranks={bytes([n]): n for n in range(256)})
tiktoken.get_encoding = tiktoken.encoding_for_model = lambda *_: bytewise
from bespokelabs import curator
url, count = sys.argv[1], int(sys.argv[2])
model = curator.LLM(model_name="gpt-4o-mini", backend="openai", backend_params={
    "base_url": url, "api_key": "x", "max_requests_per_minute": 10**7,
    "max_tokens_per_minute": 10**10, "max_concurrent_requests": 512,
    "in_mtok_cost": 0, "out_mtok_cost": 0})
asked = [f"What is the digit sum of {number}, squared?" for number in range(count)]
began, cpu = time.perf_counter(), time.process_time()
made = model(asked)
print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]))
"""


def curator_peer(python: str, quick: bool, folder: Path) -> Figures:
    """The same with bespokelabs-curator, in a process of the Python that has it."""
    count = 500 if quick else 5000
    quiet = {**os.environ, "CURATOR_CACHE_DIR": str(folder), "HF_HOME": str(folder),
             "TELEMETRY_ENABLED": "false", "HF_HUB_OFFLINE": "1"}  # fmt: skip
    with server(low_s=0.1, high_s=0.5, bytes=10_240) as url:
        made = subprocess.run(
            [python, "-c", CURATOR, url, str(count)], env=quiet, stdout=subprocess.PIPE, text=True,
            cwd=folder,
        )  # fmt: skip
        answered = stats(url)["ok"]
    if made.returncode:
        return {"curator": f"failed with exit code {made.returncode}"}
    wall, cpu = json.loads(made.stdout.splitlines()[-1])
    return {
        "curator_traces_per_s": count / wall,
        "curator_cpu_s_per_1000": 1000 * cpu / count,
        "curator_asked": answered,
    }


def latency(quick: bool, folder: Path) -> Figures:
    """Share of the latency floor at concurrency 2048 with 1 to 30 s, slow start included.

    The floor is the time that 2048 slots need for the same delays in the same order, each taken
    at once when one is free.
    """
    low, high, count = (0.5, 6.0, 6000) if quick else (1.0, 30.0, 12_288)
    with server(low_s=low, high_s=high, bytes=10_240) as url:
        wall, _, _ = measured(url, count, 2048, folder)
    return {"latency_floor_share": floor_s(low, high, count, 2048) / wall, "peak_mib": peak_mib()}


def floor_s(low: float, high: float, count: int, slots: int) -> float:
    """Seconds that `slots` need for the delays that the server draws."""
    rng = random.Random(0)
    ends = [0.0] * slots
    for _ in range(count):
        heapq.heapreplace(ends, ends[0] + rng.uniform(low, high))
    return max(ends)


def memory(quick: bool, folder: Path) -> Figures:
    """Peak memory by the number of prompts with 2,048 requests in flight; more in `million`."""
    found: Figures = {}
    with server(low_s=0.5, high_s=2.5, bytes=10_240) as url:
        for count in (2500, 5000) if quick else (10_000, 100_000):
            store = folder / str(count)
            store.mkdir()
            measured(url, count, 2048, store)
            found[f"peak_mib_{count}"] = peak_mib()
    return found


def soak(seconds: float, traces: int, folder: Path) -> Figures:
    """Slope of memory over many harvests; see `harvest_many.soak`."""
    low, high = (0.05, 0.15) if traces else (0.1, 0.3)
    with server(low_s=low, high_s=high, bytes=10_240) as url:
        return harvest_many.soak(url, seconds, traces, folder, measured)


def streaming(quick: bool, folder: Path) -> Figures:
    """CPU per streamed trace of 2,560 chunks."""
    count = 100 if quick else 400
    with server(low_s=0.0, high_s=0.1, chunks=2560, kind="text/event-stream") as url:
        _, cpu, counts = measured(url, count, 16, folder)
    assert counts.by_status == {"ok": count}, counts
    return {"stream_cpu_ms_per_trace": 1000 * cpu / count}


def logprobs(quick: bool, folder: Path) -> Figures:
    """Bytes on disk for each token with 20 logprobs."""
    count, tokens = 20, 1000
    with server(low_s=0.0, high_s=0.1, bytes=4000, logprobs=tokens) as url:
        measured(url, count, 8, folder, top_logprobs=20)
    size = sum(path.stat().st_size for path in folder.glob("traces.sqlite*"))
    return {"logprob_bytes_per_token": size / count / tokens}


def hidden_cap(quick: bool, folder: Path) -> Figures:
    """Slot use and 429s where the server takes 300, then 60, then 300 at a time."""
    every = 8.0 if quick else 30.0
    caps = [300, 60, 300]
    count = int((300 + 60 + 300) / 0.3 * every * 0.85)
    with server(low_s=0.1, high_s=0.5, bytes=2000, caps=caps, every_s=every) as url:
        wall, _, counts = measured(url, count, 512, folder)
        seen = stats(url)
    steps = [n * 0.01 for n in range(int(wall * 100))]
    slots = sum(caps[min(int(at / every), 2)] * 0.01 for at in steps)
    refused = seen["429"] / (seen["429"] + seen["ok"])
    assert counts.failed == 0, counts
    return {"cap_slot_use": seen["busy_s"] / slots, "cap_429_share": refused}


def resume(quick: bool, folder: Path) -> Figures:
    """Seconds until a harvest knows what its store lacks, one trace in a thousand.

    The median of three resumes, each a process of its own.
    """
    count = 50_000 if quick else 1_000_000
    teacher, missing = harvest_many.AtOnce(), count // 1000
    fill(
        folder / "traces.sqlite",
        Plan(prompt_file(count, folder), teacher.record, **harvest_many.WANTED),
    )
    command = [sys.executable, "-m", "benchmarks.harvest_many", str(folder), "resume"]
    runs = []
    for _ in range(3):
        made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        wall, cpu, reused, not_asked = json.loads(made.stdout)
        assert (reused, not_asked) == (count - missing, missing)
        runs.append((wall, cpu))
    wall, cpu = sorted(runs)[1]
    return {"resume_traces": count, "resume_s": wall, "resume_cpu_s": cpu}


def fill(path: Path, plan: Plan) -> None:
    """A store with the plan and traces of 1 KB, one in a thousand failed, made at once."""
    with TraceStore.open(path) as store:
        plan.keep(store)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA synchronous = OFF")
    body = os.urandom(1000)
    rows = (
        (key, 1, "timeout" if number % 1000 == 0 else "ok", body)
        for number, key in enumerate(plan.keys())
    )
    sql = "INSERT INTO traces (key, attempt, status, body) VALUES (?, ?, ?, ?)"
    with connection:
        connection.executemany(sql, rows)
        connection.execute("UPDATE spent SET upto = (SELECT max(seq) FROM traces)")
    connection.close()


CASES: dict[str, Callable[[bool, Path], Figures]] = {
    "rate": rate, "peer": peer, "latency": latency, "streaming": streaming,
    "logprobs": logprobs, "hidden_cap": hidden_cap, "memory": memory, "resume": resume,
    "million": harvest_many.million,
}  # fmt: skip


def one(name: str, options: argparse.Namespace) -> Figures:
    """The figures of one case, which runs in this process."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "soak":
            return soak(options.soak, options.soak_traces, Path(folder))
        if name == "faults":
            return harvest_faults.faults(server, Path(folder), options.curator)
        if name == "curator":
            return curator_peer(options.curator, options.quick, Path(folder))
        return CASES[name](options.quick, Path(folder))


def apart(name: str, options: argparse.Namespace) -> Figures:
    """The same in a process of its own, so that its memory is its own."""
    command = [sys.executable, "-m", "benchmarks.harvest", "--inside", name]
    command += ["--soak", str(options.soak), "--soak-traces", str(options.soak_traces)]
    command += ["--curator", options.curator]
    command += ["--quick"] * options.quick
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: Figures = json.loads(made.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small counts, for a busy machine")
    parser.add_argument("--soak", type=float, default=0.0, help="a soak of so many seconds")
    parser.add_argument("--soak-traces", type=int, default=0, help="soak of so many, at full speed")
    parser.add_argument("--curator", default="", help="a Python that has bespokelabs-curator")
    parser.add_argument("--inside", default="", help=argparse.SUPPRESS)
    parser.add_argument(
        "cases", nargs="*", help=f"of {', '.join(CASES)}, faults; all but that one if none is named"
    )
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(one(options.inside, options)))
        return
    load = f"{os.getloadavg()[0]:.1f}"
    found: Figures = {"machine": platform.machine(), "cores": os.cpu_count() or 0, "load": load}
    names = options.cases or [*CASES]
    soaked = bool(options.soak or options.soak_traces)
    if soaked and not options.cases:
        names = []
    beside = bool(options.curator) and names != ["faults"]  # which has it beside us by itself
    for name in [*names, *["soak"] * soaked, *["curator"] * beside]:
        figures = apart(name, options)
        found |= figures
        print(f"{name:12}", *(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
                              for k, v in figures.items()), file=sys.stderr)  # fmt: skip
    for peer_name in ("peer", "curator"):
        if f"{peer_name}_traces_per_s" in found and "traces_per_s" in found:
            rate_of_peer = float(found[f"{peer_name}_traces_per_s"])
            found[f"times_{peer_name}"] = float(found["traces_per_s"]) / rate_of_peer
    print(json.dumps(found))


if __name__ == "__main__":
    main()
