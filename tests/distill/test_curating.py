from __future__ import annotations

from pathlib import Path

from distill.curating import pass_rates
from distill.job import Job
from distill.progress import Silent
from tests.tiny_recipe import run, tiny_recipe
from traces.record import Verdict
from traces.rows import read_structs


def test_pass_rates_are_of_the_traces_of_one_question(tmp_path: Path) -> None:
    loaded = tiny_recipe(tmp_path, Path("some/student"), count=4)
    run(loaded, tmp_path / "run", upto="curate")
    verdicts = read_structs(tmp_path / "run/verify/verdicts.jsonl", Verdict)
    job = Job(loaded, tmp_path / "run", lambda: False, Silent())
    job.fingerprints["verify"] = "as it was"
    assert pass_rates(job) == dict.fromkeys({verdict.key for verdict in verdicts}, 1.0)
