from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault_server import Answer, FaultServer, good
from tests.scenario import books_agree, endpoint, run
from traces.teachers import queue_watch
from traces.teachers.queue_watch import read_gauge

METRICS = """\
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_running{engine="0",model_name="m"} 9.0
vllm:num_requests_waiting{engine="0",model_name="m"} 3.0
vllm:num_requests_waiting{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting_by_reason{reason="capacity"} 50.0
"""


def test_a_gauge_is_summed_over_its_labels() -> None:
    assert read_gauge(METRICS, "vllm:num_requests_waiting") == 7
    assert read_gauge("a 2\nb 3", "a") == 2
    assert read_gauge(METRICS, "sglang:num_queue_reqs") is None
    assert read_gauge("a NaN\na x", "a") is None


@pytest.mark.parametrize(("profile", "held"), [("vllm", True), ("generic", False)])
def test_the_width_rests_while_requests_wait_inside_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str, held: bool
) -> None:
    monkeypatch.setattr(queue_watch, "POLL_S", 0.02)
    with FaultServer(lambda _: Answer(good().body, delay_s=0.3)) as server:
        server.metrics = lambda count: f"vllm:num_requests_waiting {max(0, count - 8)}.0"
        counts = run(tmp_path, endpoint(server, concurrency=400, profile=profile), 1100)
        books_agree(tmp_path, server, counts)
        assert (server.most_in_flight < 350) == held


def test_a_server_without_metrics_is_asked_once_and_harvested_all_the_same(tmp_path: Path) -> None:
    with FaultServer(lambda _: good()) as server:
        counts = run(tmp_path, endpoint(server, profile="vllm"), 20)
        books_agree(tmp_path, server, counts)
