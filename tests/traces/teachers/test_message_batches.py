"""Anthropic's batches: the same promises, without a name of ours on a batch."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.batch_server import MessageBatchFake, last, said
from tests.scenario import prompts
from traces.budget import Price
from traces.errors import TeacherError
from traces.harvest import HarvestCounts, harvest
from traces.record import Sampling, Trace
from traces.store import TraceStore
from traces.teachers import batch_http
from traces.teachers.batch import BatchTeacher, half
from traces.teachers.endpoint import EndpointTeacher

ROOT = Path(__file__).resolve().parents[3]
CHILD = Path(__file__).with_name("batch_child.py")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_http, "BACKOFF_S", 0.01)


def ask(
    fake: MessageBatchFake, store: Path, count: int = 4, stopping: Any = lambda: False,
    **options: Any,
) -> HarvestCounts:  # fmt: skip
    settings = {"profile": "anthropic", "api_key": "sk-secret", "poll_s": 0.02}
    teacher = BatchTeacher(base_url=fake.url, model="m", **{**settings, **options})
    teacher.check()
    with TraceStore.open(store) as opened:
        return harvest(
            prompts(count), teacher, opened, samples=1, sampling=Sampling(max_tokens=50), seed=0,
            stopping=stopping,
        )  # fmt: skip


def stored(path: Path) -> list[Trace]:
    with TraceStore.open(path, readonly=True) as store:
        return list(store.traces())


def lose(fake: MessageBatchFake, store: Path) -> None:
    """Have the server make a batch whose id we never learn."""
    fake.after = lambda method, path: None
    fake.before = lambda method, path: None
    route = fake._route

    def forgetful(method: str, path: str, body: bytes) -> Any:
        made = route(method, path, body)
        return b"" if method == "POST" else made

    fake._route = forgetful  # type: ignore[method-assign]
    with pytest.raises(TeacherError, match="not JSON"):
        ask(fake, store)
    fake._route = route  # type: ignore[method-assign]


def test_a_batch_fills_the_store_under_the_keys_of_single_requests(tmp_path: Path) -> None:
    store = tmp_path / "traces.sqlite"
    price = half(Price(2_000_000, 8_000_000))
    with MessageBatchFake(polls=3) as fake:
        assert ask(fake, store, max_requests=3, price=price).asked == 4
        assert len(fake.batches) == 2
        assert ask(fake, store, price=price).reused == 4
        single = EndpointTeacher(base_url=fake.url, model="m", profile="anthropic")
    rows = stored(store)
    assert {t.answer for t in rows} == {f"re: question {n}" for n in range(4)}
    assert {(t.reasoning, t.fidelity, t.teacher) for t in rows} == {
        ("Hm.", "summary", single.record.id)
    }
    assert set(fake.asked.values()) == {1}
    assert price is not None
    assert all(t.cost_micro_usd == price.cost(t.usage) for t in rows)
    assert all(t.started_us > 0 for t in rows)


def test_errored_expired_and_canceled_requests_are_rows_and_are_asked_again(
    tmp_path: Path,
) -> None:
    store, mended = tmp_path / "s.sqlite", False
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "oops"}}
    results = {
        "1": {"type": "errored", "error": error},
        "2": {"type": "expired"},
        "3": {"type": "canceled"},
        "4": None,
    }

    def answer(body: dict[str, Any]) -> dict[str, Any] | None:
        return said("fine") if mended else results.get(last(body)[-1], said("fine"))

    with MessageBatchFake(answer) as fake:
        counts = ask(fake, store, 5)
        assert counts.by_status == {"cancelled": 1, "http_error": 2, "ok": 1, "timeout": 1}
        assert sorted(t.error for t in stored(store) if t.error) == [
            "in the batch: it expired before it was sent",
            "in the batch: it was canceled",
            "in the batch: oops",
            "the batch ended without an answer to it",
        ]
        mended = True
        again = ask(fake, store, 5)
    assert (again.asked, again.failed, again.reused) == (4, 0, 1)
    assert sorted(fake.asked.values()) == [1, 2, 2, 2, 2]


@pytest.mark.parametrize(
    "point",
    [
        "POST messages/batches",
        pytest.param("GET messages/batches/msgbatch_1", marks=pytest.mark.exhaustive),
        pytest.param("GET messages/batches/msgbatch_0/results", marks=pytest.mark.exhaustive),
    ],
)
def test_kill_9_at_any_point_pays_once(point: str, tmp_path: Path) -> None:
    store = tmp_path / "traces.sqlite"
    reached, go_on = threading.Event(), threading.Event()

    def after(method: str, path: str) -> None:  # the server has done it, the client does not know
        if f"{method} {path}" == point and not reached.is_set():
            reached.set()
            go_on.wait(60)

    with MessageBatchFake(after=after, polls=4) as fake:
        command = [sys.executable, str(CHILD), fake.url, str(store), "7", "anthropic"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE)
        assert reached.wait(60)
        child.kill()
        child.communicate()
        go_on.set()
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.stdout.startswith("done"), done.stderr
    rows = stored(store)
    assert [t.status for t in rows] == ["ok"] * 7
    assert dict(fake.asked) == dict.fromkeys((t.key for t in rows), 1)


def test_a_lost_batch_is_told_from_strangers_of_its_size_once_they_have_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "s.sqlite"
    with MessageBatchFake(polls=8) as fake, caplog.at_level(logging.WARNING):
        for size in (4, 4, 9):
            fake.add([{"custom_id": f"theirs-{n}", "params": {"messages": [{"content": "x"}]}}
                      for n in range(size)])  # fmt: skip
        lose(fake, store)
        fake.add(fake.requests["msgbatch_0"])
        assert ask(fake, store).asked == 4
    assert len(fake.batches) == 5
    assert set(fake.asked.values()) == {1}
    assert {t.answer for t in stored(store)} == {f"re: question {n}" for n in range(4)}
    assert "4 requests were sent and the id of their batch was not learnt" in caplog.text
    assert "msgbatch_3" in caplog.text


def test_a_batch_that_was_never_made_is_sent_once_that_is_certain(tmp_path: Path) -> None:
    store = tmp_path / "s.sqlite"
    with MessageBatchFake(
        polls=6, before=lambda method, path: 500 if method == "POST" else None
    ) as fake:
        with pytest.raises(TeacherError, match="HTTP 500"):
            ask(fake, store)
        fake.before = lambda method, path: None
        fake.add([{"custom_id": f"theirs-{n}", "params": {"messages": [{"content": "x"}]}}
                  for n in range(4)])  # fmt: skip
        looks = threading.Event()
        fake.after = lambda method, path: looks.set()
        assert ask(fake, store, stopping=looks.is_set).not_asked == 4  # not sent while it may be
        assert not fake.asked
        fake.after = lambda method, path: None
        assert ask(fake, store).asked == 4
    assert set(fake.asked.values()) == {1}


def test_the_key_is_in_a_header_and_in_no_error(tmp_path: Path) -> None:
    with MessageBatchFake(before=lambda method, path: 401) as fake:
        teacher = BatchTeacher(
            base_url=fake.url, model="m", api_key="sk-secret", profile="anthropic"
        )
        with pytest.raises(TeacherError, match="HTTP 401") as caught:
            teacher.check()
    assert "sk-secret" not in str(caught.value)
