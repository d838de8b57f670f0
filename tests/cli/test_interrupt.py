"""Ctrl-C, SIGTERM and a full disk: what is saved, what is said, and what the same command adds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Distill
from tests.fault_server import Answer, Ask, FaultServer, good

SAID = (
    "\nstopping: what is in flight is finished and saved; once more to cancel it "
    "(the same command resumes)\n"
)
COMMAND = [sys.executable, "-c", "from distill.cli.main import main; raise SystemExit(main())"]
PROBLEMS = 12


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *args],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(ready: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while not ready():
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.01)


def harvest_recipe(folder: Path, url: str) -> None:
    lines = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(PROBLEMS)]
    (folder / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "h.jsonl").write_text('{"question": "What is 99 + 1?", "answer": "100"}\n')
    (folder / "r.yaml").write_text(
        f"""\
name: small
prompts: [{{kind: file, path: p.jsonl}}]
teacher: {{kind: endpoint, base_url: "{url}", model: m, concurrency: 2, licence: mit}}
student: {{model: some/student}}
evaluate: {{problems: [{{kind: file, path: h.jsonl}}]}}
"""
    )


def slow(ask: Ask) -> Answer:
    """The double of the number, after a while; at once where only one token is wanted."""
    words = ask.text.split()
    answer = good(f"<think>\nadd\n</think>\n\n{2 * int(words[2])}" if len(words) > 2 else "yes")
    delay_s = 0.0 if ask.body.get("max_tokens") == 1 else 0.4
    return Answer(answer.body, delay_s=delay_s)


STOPPED = (
    "error: harvest stopped with {n} of 12 traces saved\n"
    "hint: the same command asks only for the rest\n"
)
INTERRUPTED = "error: interrupted\nhint: the same command goes on from what is saved\n"


@pytest.mark.parametrize(
    "signals",
    [[signal.SIGINT], [signal.SIGTERM], [signal.SIGINT, signal.SIGINT]],
    ids=["ctrl-c", "sigterm", "ctrl-c twice"],
)
def test_an_interrupted_harvest_asks_only_for_the_rest(
    tmp_path: Path,
    signals: list[signal.Signals],
    distill: Distill,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with FaultServer(slow) as server:
        harvest_recipe(tmp_path, server.url)
        with start(tmp_path, "curate", "r.yaml", "--quiet") as process:
            wait_for(lambda: server.served.total() > 3, process)
            heard = ""
            for number in signals:
                process.send_signal(number)
                # Two signals at once may reach a process as one: send the second after a reply.
                while len(signals) > 1 and "stopping" not in heard:
                    heard += process.stderr.readline() if process.stderr else ""
            out, said = process.communicate()
            said = heard + said
        assert (process.returncode, out) == (130, "")
        assert said.startswith(SAID)
        stopped = STOPPED.format(n=len(stored(tmp_path)))
        # The second signal may land in the harvest, which then says what it saved, or outside it.
        assert said.endswith((stopped, INTERRUPTED) if len(signals) > 1 else stopped)
        before = set(stored(tmp_path))
        earlier = server.asked.copy()
        monkeypatch.chdir(tmp_path)
        code, out, said = distill("curate", "r.yaml", "--quiet")
        assert (code, said) == (0, "")
        assert "funnel: 12 harvested = 12 kept" in out
        again = server.asked - earlier
    assert 0 < len(before) < PROBLEMS
    again.pop("Say yes.", None)
    assert again.total() == PROBLEMS - len(before)
    assert len(stored(tmp_path)) == PROBLEMS


def stored(folder: Path) -> list[str]:
    """The keys of the traces that are on disk with a reply."""
    from traces.store import TraceStore

    with TraceStore.open(folder / "runs/small/harvest/traces.sqlite", readonly=True) as store:
        return [trace.key for trace in store.traces() if trace.status == "ok"]


TRAINING = """\
name: small
prompts: [{kind: task, task: largest-of-four, count: 12}]
teacher: {kind: solver}
student: {model: ./tiny}
train: {epochs: 4, accumulation: 2, save_steps: 100, validation_share: 0, max_length: 1024}
evaluate: {problems: [{kind: task, task: largest-of-four, count: 4}], max_tokens: 4}
"""


@pytest.mark.exhaustive
def test_interrupted_training_goes_on_to_the_same_losses(tmp_path: Path, tiny_model: Path) -> None:
    logs = {}
    for name in ("whole", "interrupted"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tiny").symlink_to(tiny_model)
        (folder / "r.yaml").write_text(TRAINING)
        log = folder / "runs/small/train/log.jsonl"
        with start(folder, "train", "r.yaml", "--quiet") as process:
            if name == "interrupted":
                wait_for(log.exists, process)
                process.send_signal(signal.SIGINT)
            out, said = process.communicate()
        if name == "interrupted":
            assert (process.returncode, out) == (130, "")
            assert said == (
                f"{SAID}error: training stopped; the last checkpoint is saved\nhint: run it again\n"
            )
            assert list(folder.glob("runs/small/train/checkpoints/checkpoint-*"))
            with start(folder, "train", "r.yaml", "--quiet") as process:
                out, said = process.communicate()
        assert (process.returncode, said) == (0, "")
        logs[name] = [json.loads(line) for line in log.read_text().splitlines()]
    assert losses(logs["interrupted"]) == losses(logs["whole"])


def losses(log: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(line["step"], line["loss"]) for line in log]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small file system")
@pytest.mark.exhaustive
@pytest.mark.slow
def test_a_full_disk_is_named_and_the_same_command_goes_on(
    tmp_path: Path, tiny_model: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a small file system")
    try:
        (tmp_path / "tiny").symlink_to(tiny_model)
        (tmp_path / "r.yaml").write_text(TRAINING)
        args = ("train", "r.yaml", "--quiet", "--run-dir", str(disk / "run"))
        with start(tmp_path, *args) as process:
            out, said = process.communicate()
        assert (process.returncode, out) == (3, "")
        assert said.startswith("error: no space left on the disk")
        assert said.count("\n") == 2
        subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)
        with start(tmp_path, *args) as process:
            out, said = process.communicate()
        assert (process.returncode, said) == (0, "")
    finally:
        subprocess.run(["umount", str(disk)], check=True)
