"""Let Python's collector of cycles run less often while thousands of requests are in flight."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

FIRST = 50_000
"""So many containers more than there were before it looks. With Python's 700 it goes over all that
is in flight several times a second and finds nothing: a sixth of a harvest's CPU time."""


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect cycles seldom inside; a threshold that is higher already, or 0 for never, stays."""
    first, second, third = gc.get_threshold()
    gc.set_threshold(first and max(first, FIRST), second, third)
    try:
        yield
    finally:
        gc.set_threshold(first, second, third)
