"""What a harvest of very many prompts needs: memory and CPU time by their number, and for how long.

Cases of `benchmarks.harvest`: `million`, and the soak. Figures of memory are of processes of their
own, because a peak never goes down again.
"""

from __future__ import annotations

import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from traces.harvest import harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Sampling, TeacherRecord, Trace, Usage
from traces.rows import StructFile, write_structs
from traces.store import TraceStore
from traces.teachers.protocol import Request

ROOT = Path(__file__).parents[1]
Figures = dict[str, float | str]

WANTED: dict[str, Any] = {"samples": 1, "sampling": Sampling(temperature=0.6), "seed": 0}


class AtOnce:
    """A teacher that answers at once, so that what is measured is all the rest."""

    record = TeacherRecord(id="at-once", kind="solver", model="at once")

    def check(self) -> None:
        """It is there."""

    def answer(
        self,
        requests: Iterable[Request],
        emit: Callable[[Trace], None],
        stopping: Callable[[], bool],
    ) -> None:
        """Each request gets a short answer."""
        for request in requests:
            emit(
                Trace(
                    key=request.key, prompt_id=request.prompt.id, sample=request.sample,
                    attempt=request.attempt, status="ok", teacher=self.record.id,
                    sampling=request.sampling, content="<think>so it is</think>42",
                    reasoning="so it is", answer="42", usage=Usage(20, 12),
                )
            )  # fmt: skip


def peak_mib() -> float:
    """The most memory that this process has had; `getrusage` counts that of its parent too."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def million(quick: bool, folder: Path) -> Figures:
    """Peak memory of a harvest by the number of its prompts, and what a resume of it takes."""
    found: Figures = {}
    for count in (1000, 4000) if quick else (10_000, 100_000, 1_000_000):
        write_structs(folder / "prompts.jsonl", _prompts(count))
        for name in ("harvest", "resume"):
            peak, cpu_s = _in_a_process(folder, count if name == "harvest" else 0)
            found[f"{name}_peak_mib_{count}"] = peak
            found[f"{name}_cpu_s_{count}"] = cpu_s
        for path in folder.glob("traces.*"):
            path.unlink()
    return found


def _prompts(count: int) -> Iterable[Prompt]:
    for number in range(count):
        messages = (Message("user", f"What is the digit sum of {number}, squared?"),)
        yield Prompt(prompt_id(messages, None), messages)


def _in_a_process(folder: Path, asked: int) -> tuple[float, float]:
    """Peak MiB and CPU seconds of a harvest that asks so many."""
    command = [sys.executable, "-m", "benchmarks.harvest_many", str(folder), str(asked)]
    made = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    peak, cpu_s = json.loads(made.stdout)
    return peak, cpu_s


def _harvest(folder: Path, asked: int) -> None:
    cpu = time.process_time()
    prompts = StructFile(folder / "prompts.jsonl", Prompt)
    with TraceStore.open(folder / "traces.sqlite") as store:
        counts = harvest(prompts, AtOnce(), store, **WANTED)
    assert (counts.asked, counts.requested) == (asked, len(prompts)), counts
    print(json.dumps([peak_mib(), time.process_time() - cpu]))


def _resume(folder: Path) -> None:
    """Print wall and CPU seconds of a resume that asks for nothing, and what it has and lacks."""
    wall, cpu = time.perf_counter(), time.process_time()
    prompts = StructFile(folder / "prompts.jsonl", Prompt)
    with TraceStore.open(folder / "traces.sqlite") as store:
        counts = harvest(prompts, AtOnce(), store, **WANTED, stopping=lambda: True)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps([wall, cpu, counts.reused, counts.not_asked]))


class Slope(NamedTuple):
    """A slope by least squares, and the half width of its 95 % interval."""

    slope: float
    within: float


def slope_of(points: list[tuple[float, float]]) -> Slope:
    """How y grows with x; an interval without end where there are fewer than four points.

    Source: ordinary least squares; the quantile of Student's t by Cornish and Fisher's expansion.
    """
    if len(points) < 4:
        return Slope(0.0, math.inf)
    fit = statistics.linear_regression(*zip(*points, strict=True))
    freedom = len(points) - 2
    mean = statistics.fmean(x for x, _ in points)
    rest = sum((y - fit.intercept - fit.slope * x) ** 2 for x, y in points)
    spread = sum((x - mean) ** 2 for x, _ in points)
    z = statistics.NormalDist().inv_cdf(0.975)
    t = z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
    return Slope(fit.slope, t * math.sqrt(rest / freedom / spread))


def soak(
    url: str, seconds: float, traces: int, folder: Path, measured: Callable[..., tuple[Any, ...]]
) -> Figures:
    """Growth of memory while harvest follows harvest, until so much time or so many traces passed.

    `seconds` is at about 500 traces a second. With `traces` it goes as fast as it can: an hour at
    500 a second is 1.8 million traces. The first third warms up; the slope is of the rest.
    """
    concurrency, spell = (512, 10_000) if traces else (100, 2000)
    samples: list[tuple[float, float]] = []
    began, done = time.monotonic(), 0
    while done < traces or time.monotonic() - began < seconds:
        store = folder / str(done)
        store.mkdir()
        _, _, counts = measured(url, spell, concurrency, store)
        shutil.rmtree(store)
        assert counts.by_status == {"ok": spell}, counts
        done += spell
        samples.append((done, resident_mib()))
    slope, within = slope_of(samples[len(samples) // 3 :])
    return {
        "soak_s": time.monotonic() - began,
        "soak_traces": done,
        "soak_rss_mib": samples[-1][1],
        "soak_mib_per_100k_traces": 1e5 * slope,
        # JSON has no infinity: of fewer than four points there is no interval.
        **({"soak_mib_per_100k_within": 1e5 * within} if math.isfinite(within) else {}),
    }


def resident_mib() -> float:
    """The memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


if __name__ == "__main__":
    if sys.argv[2] == "resume":
        _resume(Path(sys.argv[1]))
    else:
        _harvest(Path(sys.argv[1]), int(sys.argv[2]))
