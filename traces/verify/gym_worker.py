"""A worker process of the pool that scores answers with reasoning-gym (`traces.verify.worker`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traces.verify.worker import serve

Scorer = Callable[[str, dict[str, Any]], float]
_scorers: dict[str, Scorer] = {}


def main() -> None:
    """Serve standard input until it ends. Arguments: CPU seconds per request."""
    serve(_warm)


def _warm() -> Callable[..., tuple[str, str]]:
    import reasoning_gym  # noqa: F401  # before the fork, so that no child pays for it

    return score


def score(dataset: str, entry: dict[str, Any], answer: str) -> tuple[str, str]:
    """`right` where the scorer of `dataset` gives 1, else `wrong`, and the score in words."""
    from reasoning_gym.factory import get_score_answer_fn

    if dataset not in _scorers:
        _scorers[dataset] = get_score_answer_fn(dataset)
    value = float(_scorers[dataset](answer, entry))
    return ("right" if value >= 1.0 else "wrong"), f"score {value:g}"
