from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "losses.py"


@pytest.mark.exhaustive
def test_the_cpu_check_is_accurate_and_its_last_line_is_one_object() -> None:
    command = [sys.executable, str(SCRIPT), "--shapes", "48,4099,32", "--rounds", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    summary = json.loads(done.stdout.splitlines()[-1])
    results = summary["results"]
    assert {row["regime"] for row in results} == set(summary["regimes"])
    ran = [row for row in results if "absent" not in row]
    absent = {row["provider"]: row["absent"] for row in results if "absent" in row}
    assert {"G1", "G3", "G4", "compacted/ce", "trl/dense_jsd"} <= {row["provider"] for row in ran}
    assert absent["liger_flce/ce"]
    assert absent["cuda/jsd"] == "impl is 'cuda', but the tensors are on cpu"
    for row in ran:
        assert row["repeatable"], row
        assert all(error < 1e-5 for error in row["error"].values()), row
