"""What each of two test processes would else make for itself in a fresh clone, made once before.

`python tests/warm.py bytecode`: of this project, its tests and what they import.
`python tests/warm.py loops`: the compiled loops of curation, which numba then finds on disk.
"""

from __future__ import annotations

import importlib
import sys

import pytest

TEXTS = ("What is 2 + 3? It is 5.", "What is 2 + 3? It is 6.", "Wieviel ist 2 \u00d7 3? \u0666")


def bytecode() -> None:
    silent = ["-p", "no:terminal", "-o", "addopts=--import-mode=importlib"]
    pytest.main(["--collect-only", *silent])
    for name in ("distill.training.train", "traces.verify.symbolic"):
        importlib.import_module(name)


def loops() -> None:
    import numpy as np

    from traces.curate.dedup import distinct_texts
    from traces.curate.diverse import diverse_order
    from traces.curate.scan import exact_hash, grams_of, identify, read_tokens, scan, sketch_grams

    for text in TEXTS:
        scan(text)
        identify(text)
        exact_hash(text)
        sketch_grams(grams_of(read_tokens(text)))
    distinct_texts([*TEXTS, *TEXTS], 0.5)
    diverse_order(np.zeros((2, 64), np.uint8))


if __name__ == "__main__":
    {"bytecode": bytecode, "loops": loops}[sys.argv[1]]()
