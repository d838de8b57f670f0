"""However many parts, processes and kills: the ledger is that of one pass, to the byte."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from traces.curate.annotate import Item, annotate
from traces.curate.ledger import Ledger, load_ledger, save_ledger
from traces.curate.measure import Measured
from traces.curate.measure_store import Plan, _wanted, measure_store, phases, plan_of
from traces.errors import PartialError
from traces.keys import content_hash
from traces.phases import Task, in_turn, run_rank
from traces.record import Message, Prompt, Sampling, TeacherRecord, Trace
from traces.rows import write_structs
from traces.store import TraceStore

ROOT = Path(__file__).resolve().parents[3]
PATIENT = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "120"}
COUNT = 200
WORDS = [f"{a}{b}" for a in "abcdefgh" for b in "stuvwxyz"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with copies, failures, a second attempt, and traces that are not wanted."""
    folder = tmp_path_factory.mktemp("measure")
    chosen = random.Random(7)
    keys = [content_hash(n) for n in range(COUNT)]
    text = ""
    with TraceStore.open(folder / "traces.sqlite") as store:
        prompts = [Prompt(f"p{n}", (Message("user", f"how many {n}"),)) for n in range(20)]
        store.add_prompts(prompts)
        store.add_teacher(TeacherRecord(id="t", kind="endpoint", model="m"))
        for number, key in enumerate(keys):
            if number % 5:  # else a copy of the one before
                text = (
                    f"{number} " + " ".join(chosen.choices(WORDS, k=60)) + "\u00e9" * (number % 3)
                )
            status = "http_error" if number % 17 == 3 else "ok"
            trace = Trace(
                *(key, f"p{number % 20}", 0, 0, status, "t", Sampling()),
                content=text, reasoning="because", answer=text,
            )  # fmt: skip
            store.add(trace)
            if status != "ok":
                store.add(msgspec.structs.replace(trace, attempt=1, status="ok"))
    write_structs(folder / "keys.jsonl", keys[:-10])
    return folder


def rows(folder: Path, parts: Path, each: object = in_turn, size: int = 40) -> list[Measured]:
    return list(
        measure_store(
            folder / "traces.sqlite", folder / "keys.jsonl", parts, "these", each, size=size  # type: ignore[arg-type]
        )
    )  # fmt: skip


def plain(found: Sequence[Measured]) -> list[tuple[object, ...]]:
    return [(*row[:-1], row.sketch.tolist()) for row in found]


def whole(folder: Path) -> Ledger:
    """Of one pass over the traces as they come."""
    with TraceStore.open(folder / "traces.sqlite", readonly=True) as store:
        prompts = {prompt.id: prompt for prompt in store.prompts()}
        wanted = set(msgspec.json.decode(b"[%s]" % b",".join(_lines(folder))))
        items = {t.key: Item(prompts[t.prompt_id], t) for t in store.traces() if t.key in wanted}
    return annotate(
        items.values(),
        evaluation_prompts=[prompts["p0"]],
        overlap_ngram=8,
        floor=0.7,
        item_of=items.__getitem__,
    )


def _lines(folder: Path) -> list[bytes]:
    return (folder / "keys.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("size", [7, 40, 1000])
def test_parts_one_after_the_other_are_the_traces_in_their_order(
    folder: Path, size: int, tmp_path: Path
) -> None:
    found = rows(folder, tmp_path / "parts", size=size)
    assert [row.keys for row in found] == whole(folder).keys
    assert len(found) == COUNT - 10
    assert plain(found) == plain(rows(folder, tmp_path / "other"))
    assert not (tmp_path / "parts").exists()


def test_what_was_done_before_a_worker_was_lost_is_not_done_again(
    folder: Path, tmp_path: Path
) -> None:
    done: list[int] = []

    def lost(task: Task, numbers: Sequence[int]) -> None:
        in_turn(task, numbers[:2])
        raise PartialError("a worker was lost", "run it again")

    def noted(task: Task, numbers: Sequence[int]) -> None:
        done.extend(numbers)
        in_turn(task, numbers)

    parts = tmp_path / "parts"
    with pytest.raises(PartialError):
        rows(folder, parts, lost)
    assert plain(rows(folder, parts, noted)) == plain(rows(folder, tmp_path / "other"))
    assert done == [2, 3, 4]
    with pytest.raises(PartialError):
        rows(folder, parts, lost)
    again = measure_store(
        folder / "traces.sqlite", folder / "keys.jsonl", parts, "others", noted, size=40
    )
    assert len(list(again)) == COUNT - 10
    assert done == [2, 3, 4, 0, 1, 2, 3, 4]  # parts of other traces are thrown away


def plan(folder: Path, parts: Path) -> Plan:
    return plan_of(folder / "traces.sqlite", folder / "keys.jsonl", parts, "these", 40)


def test_parts_that_ranks_have_measured_are_taken_as_they_are(folder: Path, tmp_path: Path) -> None:
    mine, others = plan(folder, tmp_path / "parts"), plan(folder, tmp_path / "parts")
    mine.folder.mkdir(parents=True)
    with ThreadPoolExecutor() as threads:
        other = threads.submit(run_rank, others.folder, phases(others), 1, 2)
        run_rank(mine.folder, phases(mine), 0, 2)
        other.result()

    def none(task: Task, numbers: Sequence[int]) -> None:
        raise AssertionError(numbers)

    assert plain(rows(folder, tmp_path / "parts", none)) == plain(rows(folder, tmp_path / "other"))
    assert not (tmp_path / "parts").exists()


def test_a_part_for_all_is_taken_too(folder: Path, tmp_path: Path) -> None:
    store, keys = folder / "traces.sqlite", folder / "keys.jsonl"
    whole = plan_of(store, keys, tmp_path / "parts", "these", 1000)
    whole.folder.mkdir(parents=True)
    run_rank(whole.folder, phases(whole), 0, 1)
    (whole.folder / "measure-00000.arrow").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError):
        rows(folder, tmp_path / "parts", size=1000)


def test_the_keys_are_read_once_for_all_parts(folder: Path, tmp_path: Path) -> None:
    before = _wanted.cache_info().misses
    rows(folder, tmp_path / "parts", size=7)
    assert _wanted.cache_info().misses <= before + 1


def child(folder: Path, parts: Path, how: str, ledger: Path) -> list[str]:
    script = ROOT / "tests/traces/curate/measure_child.py"
    store, keys = folder / "traces.sqlite", folder / "keys.jsonl"
    return [sys.executable, *map(str, (script, store, keys, parts, how, ledger))]


@pytest.mark.exhaustive
def test_the_ledger_is_the_same_from_processes_ranks_and_ray_and_after_a_kill(
    folder: Path, tmp_path: Path
) -> None:
    save_ledger(tmp_path / "whole.arrow", whole(folder), "these")
    want = (tmp_path / "whole.arrow").read_bytes()
    for how in ("1", "2", "ray"):
        path = tmp_path / f"{how}.arrow"
        command = child(folder, tmp_path / f"parts-{how}", how, path)
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **PATIENT})
        assert path.read_bytes() == want
    parts, path = tmp_path / "killed", tmp_path / "killed.arrow"
    ranks = [subprocess.Popen(child(folder, parts, f"rank{n}", path), cwd=ROOT) for n in (0, 1)]
    while not list(parts.glob("*/*.done")) and ranks[0].poll() is None:
        time.sleep(0.005)
    ranks[0].kill()
    ranks[0].wait()
    assert ranks[1].wait() == 0  # it takes over what the other has left
    assert not path.exists()
    process = subprocess.Popen(child(folder, tmp_path / "two", "2", path), cwd=ROOT)
    while not list((tmp_path / "two").glob("*/*.done")) and process.poll() is None:
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not path.exists()
    subprocess.run(child(folder, parts, "1", path), cwd=ROOT, check=True)
    assert path.read_bytes() == want
    path.unlink()
    subprocess.run(child(folder, tmp_path / "two", "2", path), cwd=ROOT, check=True)
    assert path.read_bytes() == want
    assert load_ledger(path, "these") is not None
