"""Two Ray workers make the traces that one process makes, each in files of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.tiny_traces import make_prompt, make_trace
from traces.errors import CountError
from traces.harvest import harvest
from traces.record import Sampling, Trace
from traces.scale import merge, shard_of
from traces.store import TraceStore
from traces.teachers.local import LocalTeacher

ROOT = Path(__file__).resolve().parents[2]


def contents(path: Path) -> dict[str, tuple[object, ...]]:
    with TraceStore.open(path, readonly=True) as store:
        return {t.key: (t.content, t.token_ids, t.status, t.sample) for t in store.traces()}


def run(model: Path, folder: Path) -> list[str]:
    command = [sys.executable, str(ROOT / "tests/traces/ray_child.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(
        [*command, str(model), str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.exhaustive
@pytest.mark.slow
def test_two_workers_make_what_one_process_makes_and_resume(
    tiny_model: Path, tmp_path: Path
) -> None:
    lines = run(tiny_model, tmp_path)
    assert [line for line in lines if line.startswith("merged")] == ["merged 3 16", "merged 3 4"]
    shards = [tuple(map(int, line.split()[1:])) for line in lines if line.startswith("shard")]
    assert (sum(asked for asked, _ in shards), sum(reused for _, reused in shards)) == (20, 16)
    prompts = [make_prompt(f"Is {number} even?") for number in range(10)]
    with TraceStore.open(tmp_path / "alone.sqlite") as store:
        harvest(
            prompts, LocalTeacher(str(tiny_model), batch_size=4), store, samples=2,
            sampling=Sampling(max_tokens=4, temperature=0.7), seed=0,
        )  # fmt: skip
    assert contents(tmp_path / "traces.sqlite") == contents(tmp_path / "alone.sqlite")


def filled(path: Path, *traces: Trace) -> Path:
    with TraceStore.open(path) as store:
        for trace in traces:
            store.add(trace)
    return path


def test_a_key_with_two_traces_is_an_error_and_the_same_trace_is_not(tmp_path: Path) -> None:
    prompt = make_prompt()
    one = make_trace(prompt)
    other = make_trace(prompt, "Answer: 3")
    a, b = filled(tmp_path / "a.sqlite", one), filled(tmp_path / "b.sqlite", one, other)
    target = tmp_path / "all.sqlite"
    assert (merge([a, b], target), merge([a, b], target)) == (2, 0)
    clash = msgspec.structs.replace(other, key=one.key)
    with pytest.raises(CountError, match="1 keys are in two files"):
        merge([a, filled(tmp_path / "c.sqlite", clash)], target)


def test_all_samples_of_a_prompt_are_in_one_shard_and_shards_are_even() -> None:
    dealt = [shard_of(make_prompt(f"Question {n}").id, 4) for n in range(400)]
    assert all(70 < dealt.count(shard) < 130 for shard in range(4))
