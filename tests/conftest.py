from __future__ import annotations

import atexit
import gc
import os
from pathlib import Path

import pytest
from hypothesis import settings

# Two test processes on two cores; numerics that do not depend on the number of threads.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A deadline would fail tests on a busy machine, not wrong code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """Take torch and the like out of the garbage collector's sight: each look at them costs 0.4 s.

    They come back at exit, for extensions that report what was never freed.
    """
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random two-layer Llama. Read only: copy it to change it."""
    import torch

    from tests.tiny_llama import write_model

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models") / "tiny"
    write_model(folder)
    return folder
