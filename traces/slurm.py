"""Job arrays for work in phases (`traces.phases`)."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_SCRIPT = """#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --cpus-per-task=1
#SBATCH --mem=8G
#SBATCH --requeue
set -euo pipefail
{command} --rank "$SLURM_ARRAY_TASK_ID" --world {world}
# when all have ended, {then}"""


def job_array(name: str, words: Sequence[str], world: int, then: str) -> str:
    """A script for sbatch: `world` ranks of a command. A comment says what comes `then`."""
    command = shlex.join(words)
    return _SCRIPT.format(name=name, last=world - 1, world=world, command=command, then=then)
