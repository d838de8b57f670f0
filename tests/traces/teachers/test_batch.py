"""Batches: the same store and keys, half the price, and nothing paid twice whatever is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.batch_server import BatchFake, ok
from traces.budget import Budget, Caps, Price
from traces.errors import TeacherError, UserError
from traces.harvest import HarvestCounts, harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Sampling, Trace
from traces.store import TraceStore
from traces.teachers import batch_http
from traces.teachers.batch import BatchTeacher, half
from traces.teachers.endpoint import EndpointTeacher

ROOT = Path(__file__).resolve().parents[3]
CHILD = Path(__file__).with_name("batch_child.py")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_http, "BACKOFF_S", 0.01)


def prompts(count: int) -> list[Prompt]:
    found = []
    for number in range(count):
        messages = (Message("user", f"question {number}"),)
        found.append(Prompt(prompt_id(messages, None), messages))
    return found


def ask(
    fake: BatchFake, store: Path, count: int = 4, *, stopping: Any = lambda: False,
    budget: Budget | None = None, **options: Any,
) -> HarvestCounts:  # fmt: skip
    teacher = BatchTeacher(base_url=fake.url, model="m", poll_s=0.02, **options)
    with TraceStore.open(store) as opened:
        return harvest(
            prompts(count), teacher, opened, samples=1, sampling=Sampling(max_tokens=50), seed=0,
            stopping=stopping, budget=budget,
        )  # fmt: skip


def stored(path: Path) -> list[Trace]:
    with TraceStore.open(path, readonly=True) as store:
        return list(store.traces())


def test_a_batch_fills_the_store_under_the_keys_of_single_requests(tmp_path: Path) -> None:
    store = tmp_path / "traces.sqlite"
    with BatchFake(polls=3) as fake:
        assert ask(fake, store, max_requests=3).asked == 4
        assert len(fake.batches) == 2
        assert ask(fake, store).reused == 4
    assert {t.answer for t in stored(store)} == {f"re: question {n}" for n in range(4)}
    assert set(fake.asked.values()) == {1}
    single = EndpointTeacher(base_url=fake.url, model="m")
    assert {t.teacher for t in stored(store)} == {single.record.id}


def test_half_the_price_is_what_it_costs(tmp_path: Path) -> None:
    price = Price(2_000_000, 8_000_000)
    halved = half(price)
    budget = Budget(Caps(usd=1.0), halved)
    with BatchFake() as fake:
        counts = ask(fake, tmp_path / "s.sqlite", price=halved, budget=budget)
    assert counts.cost_micro_usd == 4 * price.cost(stored(tmp_path / "s.sqlite")[0].usage) // 2


def test_requests_that_failed_in_a_batch_are_asked_again_and_the_others_not(
    tmp_path: Path,
) -> None:
    store, mended = tmp_path / "s.sqlite", False

    def answer(body: dict[str, Any]) -> dict[str, Any] | None:
        text = body["messages"][-1]["content"]
        if mended or text.endswith("0"):
            return ok("fine")
        if text.endswith("1"):
            return {"response": {"status_code": 500, "body": {"error": {"message": "oops"}}}}
        if text.endswith("2"):
            return {"response": None, "error": {"code": "batch_expired", "message": "too late"}}
        return None

    with BatchFake(answer, status="expired") as fake:
        counts = ask(fake, store)
        assert (counts.by_status, counts.failed) == ({"http_error": 1, "ok": 1, "timeout": 2}, 3)
        errors = sorted(t.error for t in stored(store) if t.error)
        assert [e.split(":")[0] for e in errors] == [
            "HTTP 500", "in the batch", "the batch expired without an answer to it",
        ]  # fmt: skip
        mended = True
        again = ask(fake, store)
    assert (again.asked, again.failed, again.reused) == (3, 0, 1)
    assert sorted(fake.asked.values()) == [1, 2, 2, 2]


def test_stopping_leaves_the_batch_and_the_next_run_collects_it(tmp_path: Path) -> None:
    store, stop = tmp_path / "s.sqlite", threading.Event()
    with BatchFake(
        polls=3, after=lambda method, path: stop.set() if "batches/" in path else None
    ) as fake:
        counts = ask(fake, store, stopping=stop.is_set)
        assert (counts.asked, counts.not_asked) == (0, 4)
        assert ask(fake, store).asked == 4
    assert len(fake.batches) == 1


@pytest.mark.parametrize(
    "point", [("POST", "files"), ("POST", "batches"), ("GET", "batches/"), ("GET", "files/")]
)
def test_kill_9_at_any_point_pays_once(point: tuple[str, str], tmp_path: Path) -> None:
    store = tmp_path / "traces.sqlite"
    reached, go_on = threading.Event(), threading.Event()

    def after(method: str, path: str) -> None:  # the server has done it, the client does not know
        if (method, path[: len(point[1])]) == point and not reached.is_set():
            reached.set()
            go_on.wait(60)

    with BatchFake(after=after) as fake:
        command = [sys.executable, str(CHILD), fake.url, str(store), "7", "auto"]
        child = subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=subprocess.PIPE)
        assert reached.wait(60)
        child.kill()
        child.communicate()
        go_on.set()
        done = subprocess.run(
            command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False
        )
        assert done.stdout.startswith("done"), done.stderr
    assert len(stored(store)) == 7
    assert all(t.status == "ok" for t in stored(store))
    assert dict(fake.asked) == dict.fromkeys((t.key for t in stored(store)), 1)


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_server_that_stumbles_is_asked_again_but_a_batch_is_never_made_twice(
    tmp_path: Path,
) -> None:
    seen: list[str] = []

    def stumble(method: str, path: str) -> int | None:
        seen.append(f"{method} {path}")
        return 503 if seen.count(seen[-1]) == 1 else None

    store = tmp_path / "s.sqlite"
    with BatchFake(before=stumble) as fake:
        with pytest.raises(TeacherError, match=r"POST .*batches: HTTP 503"):
            ask(fake, store)
        assert ask(fake, store).asked == 4
    assert seen.count("POST batches") == 2
    assert set(fake.asked.values()) == {1}


def test_a_refused_key_and_another_interface_are_one_line(tmp_path: Path) -> None:
    with BatchFake(before=lambda method, path: 401) as fake:
        teacher = BatchTeacher(base_url=fake.url, model="m", api_key="sk-secret")
        with pytest.raises(TeacherError, match="HTTP 401") as caught:
            teacher.check()
    assert "sk-secret" not in str(caught.value)
    with pytest.raises(UserError, match="its batches are not supported"):
        BatchTeacher(base_url="https://generativelanguage.googleapis.com/v1beta", model="g")
