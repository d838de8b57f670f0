"""Programs that attack get nothing but a wrong: on every rung, as any user, without namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from traces.verify import isolation
from traces.verify.attacks import ATTACKS, GOOD, Attacked, attack, judge
from traces.verify.pool import Pool

CHILD = Path(__file__).with_name("attack_child.py")
ROOT = CHILD.parents[3]
NOBODY = 65534
NAMES = (*ATTACKS, "stdout flood")
here = [
    pytest.param(
        rung,
        marks=pytest.mark.skipif(
            bool(isolation.missing(rung)), reason=f"needs {rung}: {isolation.missing(rung)}"
        ),
    )
    for rung in isolation.RUNGS
]


@pytest.fixture(scope="module", params=here)
def attacked(request: pytest.FixtureRequest) -> dict[str, Attacked]:
    return {one.name: one for one in attack(request.param)}


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_is_wrong_and_the_next_program_is_judged(
    name: str, attacked: dict[str, Attacked]
) -> None:
    assert attacked[name].blocked, attacked[name]


@pytest.fixture(params=here)
def pool(request: pytest.FixtureRequest) -> Iterator[Pool]:
    with Pool(workers=1, timeout_s=1.0, isolation=request.param) as one:
        yield one


def test_the_verdict_names_the_isolation(pool: Pool, request: pytest.FixtureRequest) -> None:
    rung = request.node.callspec.params["pool"]
    assert judge(GOOD, pool).verifier == f"code@2/{rung}"
    assert judge("def f(x): return 0", pool).verifier == f"code@2/{rung}"


def test_no_process_is_left_after_attacks(pool: Pool) -> None:
    for name in ("fork", "daemon", "memory by many forks", "os._exit"):
        judge(ATTACKS[name], pool)
    worker = pool._programs.get()
    pool._programs.put(worker)
    assert worker.process is not None
    pid = worker.process.pid
    if worker.rung == "landlock":  # the server itself; bubblewrap keeps it as its only child
        assert children(pid) == []
    pool.close()
    assert not Path(f"/proc/{pid}").exists()


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_a_server_without_isolation_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "missing", lambda rung: "refused by this test")
    with Pool(workers=1, timeout_s=1.0) as pool:
        check = judge(GOOD, pool)
    assert check.outcome == "unknown"
    assert check.reason == (
        "no isolation: bwrap: refused by this test; landlock: refused by this test"
    )


def run_child(python: str, *arguments: str, **options: Any) -> dict[str, Any]:
    done = subprocess.run(
        [python, "-B", str(CHILD), *arguments], cwd="/", check=False, capture_output=True, **options
    )
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_where_user_namespaces_are_refused_the_second_rung_holds() -> None:
    found = run_child(sys.executable, "--no-namespaces")
    assert found["lacks"]["bwrap"]
    assert found["lacks"]["landlock"] == isolation.missing("landlock")
    assert found["run"] == (0 if found["lacks"]["landlock"] else len(NAMES))
    assert found["loose"] == []


def python_for_all() -> tuple[str, dict[str, str]]:
    """A Python of this version that any user can start, and the environment that it needs."""
    import msgspec

    packages = str(Path(msgspec.__file__).resolve().parents[1])
    environment = {"PATH": os.defpath, "PYTHONPATH": packages}
    version = f"python3.{sys.version_info.minor}"
    options: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    for python in (sys.executable, shutil.which(version, path=os.defpath)):
        if python is None:
            continue
        try:
            done = subprocess.run(
                [python, "-c", "import sys, msgspec; open(sys.argv[1])", str(CHILD)],
                env=environment, capture_output=True, check=False, cwd="/", **options,
            )  # fmt: skip
        except PermissionError:
            continue
        if done.returncode == 0:
            return python, environment
    return "", {}


@pytest.mark.parametrize("refused", [[], ["--no-namespaces"]])
def test_attacks_are_blocked_for_nobody_too(refused: list[str]) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to become nobody; the tests above ran without root")
    python, environment = python_for_all()
    if not python:
        pytest.skip("needs a Python, packages and a checkout that user nobody can read")
    found = run_child(python, *refused, user=NOBODY, group=NOBODY, extra_groups=[], env=environment)
    assert found["uid"] == NOBODY
    rungs = [rung for rung, lack in found["lacks"].items() if not lack]
    assert found["run"] == len(rungs) * len(NAMES)
    assert found["loose"] == []
    assert "landlock" in rungs or isolation.missing("landlock")
