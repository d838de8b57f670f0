"""Checkpoints that are whole, and a log that agrees with them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from transformers import TrainerCallback

from distill.artifacts import TrainPoint
from distill.run import write_atomically


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint whose state file, the last to be written, is whole."""
    found = [path.parent for path in folder.glob("checkpoint-*/trainer_state.json")]
    found.sort(key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in found if _is_json(path / "trainer_state.json")), None)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())  # not msgspec: a diverged run has NaN in it
    except ValueError:
        return False
    return True


def points(history: Sequence[Mapping[str, Any]]) -> list[TrainPoint]:
    """The trainer's log history as our log lines."""
    found = []
    for entry in history:
        if "loss" in entry or "eval_loss" in entry:
            found.append(
                TrainPoint(
                    step=int(entry["step"]),
                    loss=entry.get("loss"),
                    validation_loss=entry.get("eval_loss"),
                    learning_rate=entry.get("learning_rate"),
                    grad_norm=entry.get("grad_norm"),
                    trained_tokens=entry.get("trained_tokens"),
                    ce_loss=entry.get("ce_loss"),
                    kd_loss=entry.get("kd_loss"),
                    kept_columns=entry.get("kept_columns"),
                    dropped_mass=entry.get("dropped_mass"),
                )
            )
    return found


class LogAndStop(TrainerCallback):
    """Rewrites `log.jsonl` from the trainer's own history, reports steps, and stops when asked.

    The history is part of every checkpoint, so the log of a resumed run holds each step once.
    """

    def __init__(
        self,
        log: Path,
        stopping: Callable[[], bool],
        on_step: Callable[[int, int, float | None], None],
    ) -> None:
        self.log, self.stopping, self.on_step = log, stopping, on_step
        self.stopped = False

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Write the history so far."""
        if state.is_world_process_zero:
            lines = [msgspec.json.encode(point) for point in points(state.log_history)]
            write_atomically(self.log, b"\n".join(lines) + b"\n")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        """Report the step; save and stop when the user asked for it."""
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        self.on_step(state.global_step, state.max_steps, losses[-1] if losses else None)
        if self.stopping() and state.global_step < state.max_steps:
            self.stopped = control.should_save = control.should_training_stop = True
        return control
