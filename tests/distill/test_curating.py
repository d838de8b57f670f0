from __future__ import annotations

from itertools import chain
from pathlib import Path

from distill.curating import pass_rates
from distill.job import Job
from distill.progress import Silent
from tests.tiny_recipe import run, tiny_recipe
from traces.record import Verdict
from traces.rows import write_structs
from traces.store import TraceStore


def test_pass_rates_are_of_the_verified_traces_of_one_question(tmp_path: Path) -> None:
    loaded = tiny_recipe(tmp_path, Path("some/student"), "harvest.samples=3", count=3)
    run(loaded, tmp_path / "run", upto="verify")
    with TraceStore.open(tmp_path / "run/harvest/traces.sqlite", readonly=True) as store:
        asked = {trace.key: trace.prompt_id for trace in store.traces()}
    outcomes = ("right", "wrong", "unknown"), ("right", "right", "unknown"), ("unknown",) * 3
    keys = sorted(asked, key=asked.__getitem__)
    said = [
        Verdict(key, "answer", "x@1", outcome)
        for key, outcome in zip(keys, chain(*outcomes), strict=True)
    ]
    write_structs(tmp_path / "run/verify/verdicts.jsonl", said)
    job = Job(loaded, tmp_path / "run", lambda: False, Silent())
    job.fingerprints["verify"] = "as it was"
    assert pass_rates(job) == dict(zip(keys, [0.5] * 3 + [1.0] * 3, strict=False))
