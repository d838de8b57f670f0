"""However many shards, processes and kills: the keep-list is that of one process, to the byte."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from traces.curate.dedup_files import begin, dedup_files, slurm
from traces.curate.rows import DedupRow, dedup_rows
from traces.curate.sharded import KEEP, phases
from traces.errors import DataError
from traces.jsonio import Faults
from traces.phases import in_turn, run_phases

ROOT = Path(__file__).resolve().parents[3]
SHARD = 20_000


def prose(seed: int, count: int = 90) -> str:
    chosen = random.Random(seed)
    return " ".join(f"word{chosen.randrange(300)}" for _ in range(count))


def edited(text: str, edits: int, seed: int) -> str:
    words, chosen = text.split(), random.Random(seed)
    for _ in range(edits):
        words[chosen.randrange(len(words))] = f"other{chosen.randrange(300)}"
    return " ".join(words)


def texts() -> list[str]:
    """Families with near and exact copies, a crowd of refusals, number variants, empty texts."""
    found = [edited(prose(i), j % 6, 31 * i + j) for i in range(40) for j in range(7)]
    found += ["I cannot help with that. " + edited(prose(5, 60), n % 3, n) for n in range(90)]
    found += [f"{prose(77)} we add {n} and {n + 1} {prose(78)}" for n in range(20)]
    found += [prose(3), " ", " ", "", "short", "short \u00e9 \ud800".replace("\ud800", "?")]
    random.Random(2).shuffle(found)
    return found


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("many") / "many.jsonl"
    lines = [json.dumps({"text": text}) for text in texts()]
    path.write_text("\n\n".join([*lines[:50], "{broken", *lines[50:], '{"text": 5}']) + "\n")
    return path


@pytest.fixture(scope="module")
def alone(many: Path) -> list[DedupRow]:
    rows = list(dedup_rows(many, field="text", threshold=0.7, faults=Faults()))
    assert 100 < sum(not row.kept for row in rows) < len(rows) - 40
    return rows


def shown(rows: Iterator[DedupRow] | list[DedupRow]) -> str:
    return "".join(json.dumps(row.as_line(), separators=(",", ":")) + "\n" for row in rows)


def start(how: str, path: Path, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "tests/traces/curate/dedup_child.py")]
    patient = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}
    return subprocess.Popen(
        [*command, how, str(path), str(folder), str(SHARD)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **patient},
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def end(process: subprocess.Popen[str]) -> None:
    _, err = process.communicate(timeout=250)
    assert process.returncode == 0, err[-2000:]


@pytest.mark.parametrize(
    "shard_bytes", [pytest.param(3_000, marks=pytest.mark.exhaustive), 8_000, SHARD, 10**9]
)
def test_the_number_of_shards_makes_no_difference(
    many: Path, alone: list[DedupRow], tmp_path: Path, shard_bytes: int
) -> None:
    rows, faults = dedup_files(
        [many], field="text", threshold=0.7, work=tmp_path / "work", shard_bytes=shard_bytes
    )
    assert shown(rows) == shown(alone)
    assert (tmp_path / "work" / KEEP).read_text() == shown(alone)
    assert faults.count == 2
    assert faults.named[0].startswith(f"{many}:101: broken JSON")
    assert faults.named[1] == f"{many}:{len(texts()) * 2 + 3}: text: 5 is not text"


@pytest.mark.parametrize("threshold", [0.4, 0.9])
def test_other_thresholds_give_what_one_process_gives(
    many: Path, tmp_path: Path, threshold: float
) -> None:
    expected = dedup_rows(many, field="text", threshold=threshold, faults=Faults())
    rows, _ = dedup_files(
        [many], field="text", threshold=threshold, work=tmp_path, shard_bytes=SHARD
    )
    assert shown(rows) == shown(expected)


@pytest.mark.parametrize("how", [["two"], ["rank0", "rank1"]])
def test_two_processes_and_two_ranks_write_the_same_bytes(
    many: Path, alone: list[DedupRow], tmp_path: Path, how: list[str]
) -> None:
    for process in [start(one, many, tmp_path) for one in how]:
        end(process)
    assert (tmp_path / KEEP).read_text() == shown(alone)


def test_a_kill_at_any_moment_changes_nothing(
    many: Path, alone: list[DedupRow], tmp_path: Path
) -> None:
    chosen = random.Random(11)
    for _ in range(4):
        process = start("one", many, tmp_path)
        goal = len(list(tmp_path.glob("*.done"))) + chosen.randrange(1, 6)
        while process.poll() is None and len(list(tmp_path.glob("*.done"))) < goal:
            time.sleep(0.002)
        process.kill()
        process.communicate()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.done")}
    rows, _ = dedup_files([many], field="text", threshold=0.7, work=tmp_path, shard_bytes=SHARD)
    assert shown(rows) == shown(alone)
    assert (tmp_path / KEEP).read_text() == shown(alone)
    assert before
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.exhaustive
def test_tasks_of_ray_write_the_same_bytes(
    many: Path, alone: list[DedupRow], tmp_path: Path
) -> None:
    end(start("ray", many, tmp_path))
    assert (tmp_path / KEEP).read_text() == shown(alone)


def test_compressed_and_parquet_files_are_numbered_on_and_compared_with_each_other(
    tmp_path: Path,
) -> None:
    parts = [texts()[:60], texts()[60:140], texts()[140:200]]
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz", tmp_path / "c.parquet"]
    lines = ["".join(json.dumps({"text": t}) + "\n" for t in part) for part in parts]
    files[0].write_text(lines[0])
    files[1].write_bytes(gzip.compress(lines[1].encode()))
    parquet.write_table(pyarrow.table({"text": parts[2]}), files[2], row_group_size=16)
    whole = tmp_path / "whole.jsonl"
    whole.write_text("".join(lines))
    expected = dedup_rows(whole, field="text", threshold=0.7, faults=Faults())
    rows, faults = dedup_files(files, field="text", threshold=0.7, shard_bytes=4_000)
    assert shown(rows) == shown(expected)
    assert faults.count == 0


def test_a_folder_of_other_files_or_options_is_refused(many: Path, tmp_path: Path) -> None:
    begin([many], tmp_path, "text", 0.7, SHARD)
    with pytest.raises(DataError, match="begun with other threshold"):
        begin([many], tmp_path, "text", 0.8, SHARD)
    other = tmp_path / "other.jsonl"
    other.write_bytes(many.read_bytes())
    with pytest.raises(DataError, match="begun with other files"):
        begin([other], tmp_path, "text", 0.7, SHARD)


def test_a_field_that_no_row_has_ends_the_work(many: Path, tmp_path: Path) -> None:
    plan = begin([many], tmp_path, "txt", 0.7, SHARD)
    with pytest.raises(DataError, match="txt: missing"):
        run_phases(tmp_path, phases(tmp_path, plan), in_turn)


def test_the_job_array_has_a_rank_for_each_task(many: Path, tmp_path: Path) -> None:
    script = slurm([many], tmp_path, 8, field="text", threshold=0.8)
    exact = slurm([many], tmp_path, 8, field="text", threshold=0.8000001)
    assert "--threshold 0.8000001 " in exact
    assert "#SBATCH --array=0-7\n" in script
    assert f"dedup {many} --field text --threshold 0.8 --work {tmp_path} --rank " in script
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0
