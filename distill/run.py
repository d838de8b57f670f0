"""A run directory: its manifest, its event log, and where each stage keeps its files."""

from __future__ import annotations

import platform
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

import msgspec

from distill.artifacts import Manifest, StageRecord
from traces.errors import DataError, UserError
from traces.files import whole
from traces.keys import content_hash

T = TypeVar("T")
LIBRARIES = ("torch", "transformers", "peft", "trl", "datasets", "accelerate", "math-verify")


def now() -> str:
    """The time as UTC ISO 8601, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def write_atomically(path: Path, payload: bytes) -> None:
    """Write `payload` to `path` so that a crash leaves the old file or the new one, never half."""
    with whole(path) as temporary:
        temporary.write_bytes(payload)


def write_struct(path: Path, value: Any) -> None:
    """Write a struct as indented JSON, atomically."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")


def environment() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class Run:
    """The directory of one run, made when its first stage begins.

    Its manifest is rewritten atomically when a stage begins or ends.

    Raises:
        UserError: the directory belongs to another recipe, or is not a run directory.
    """

    def __init__(self, root: Path, name: str, recipe_sha: str, recipe_text: bytes) -> None:
        self.root = root
        path = root / "manifest.json"
        if path.exists():
            self.manifest = read_struct(path, Manifest)
            if self.manifest.name != name:
                raise UserError(
                    f"{root} holds a run of the recipe {self.manifest.name!r}, not of {name!r}",
                    "choose another --run-dir, or delete the old run",
                )
        elif root.exists() and any(root.iterdir()):
            raise UserError(
                f"{root} is not empty and holds no run",
                "choose another --run-dir, or empty it",
            )
        else:
            version = metadata.version("trace-distill")
            self.manifest = Manifest(name, version, recipe_sha, now(), environment())
        self.manifest.recipe_sha = recipe_sha
        self._recipe_text = recipe_text

    @property
    def is_new(self) -> bool:
        """Whether nothing of it has been written yet."""
        return not (self.root / "manifest.json").exists()

    def __truediv__(self, relative: str) -> Path:
        """A path inside the run directory."""
        return self.root / relative

    def save(self) -> None:
        """Write the recipe and the manifest."""
        write_atomically(self.root / "recipe.yaml", self._recipe_text)
        write_struct(self.root / "manifest.json", self.manifest)

    def event(self, kind: str, **detail: Any) -> None:
        """Append one line to `events.jsonl`."""
        line = msgspec.json.encode({"at": now(), "event": kind, **detail})
        with (self.root / "events.jsonl").open("ab") as file:
            file.write(line + b"\n")

    def changed(self, stage: str, inputs: dict[str, str]) -> str | None:
        """Why `stage` must run again, in words; None where it finished with the same inputs.

        Empty where it never finished.
        """
        record = self.manifest.stages.get(stage)
        if record is None:
            return ""
        names = sorted(
            name
            for name in inputs.keys() | record.inputs.keys()
            if inputs.get(name) != record.inputs.get(name)
        )
        return f"changed: {', '.join(names)}" if names else None

    def resumes(self, stage: str, inputs: dict[str, str]) -> bool:
        """Whether `stage` began with the same inputs before and did not finish."""
        return self.manifest.begun.get(stage) == content_hash(inputs)

    def forget(self, stage: str) -> None:
        """Drop the records of `stage`, before its files go."""
        known = self.manifest.stages.pop(stage, None), self.manifest.begun.pop(stage, None)
        if any(known):
            self.save()

    def begin(self, stage: str, inputs: dict[str, str]) -> None:
        """Note that `stage` begins."""
        resumed = self.resumes(stage, inputs)
        self.manifest.begun[stage] = content_hash(inputs)
        self.manifest.stages.pop(stage, None)
        self.save()
        self.event("resumed" if resumed else "started", stage=stage)

    def finish(
        self, stage: str, inputs: dict[str, str], started: float, counts: dict[str, Any]
    ) -> None:
        """Note that `stage`, which began at `started` on the monotonic clock, is done."""
        seconds = round(monotonic() - started, 1)
        record = StageRecord(content_hash(inputs), now(), seconds, inputs, counts)
        self.manifest.stages[stage] = record
        self.manifest.begun.pop(stage, None)
        self.save()
        self.event("finished", stage=stage, seconds=seconds, counts=counts)


def read_struct(path: Path, kind: type[T]) -> T:
    """Read one JSON file of a run.

    Raises:
        DataError: it is missing or does not hold what it should.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        raise DataError(f"{path} is missing", "run the stage that writes it") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"{path}: {error}", "delete it and run its stage again") from error
