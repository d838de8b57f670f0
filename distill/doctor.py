"""`distill doctor`: what this machine has, lacks, and will use. Works without torch."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Literal

import msgspec
from packaging.requirements import Requirement

from distill.machine import free_bytes, memory_bytes, nvidia_devices, processors
from traces.verify import isolation

DISTRIBUTION = "trace-distill"
LEAST_PYTHON = (3, 10)
LITTLE_DISK = 10e9
LITTLE_MEMORY = 6e9
USUAL_VOCABULARY = 151_936  # Qwen's


class Check(msgspec.Struct, frozen=True):
    """One finding. `warn` stops some commands, `fail` stops all; `hint` says what to do."""

    name: str
    status: Literal["ok", "warn", "fail"]
    detail: str
    hint: str = ""


def examine(folder: Path | None = None) -> list[Check]:
    """Look at Python, packages, devices, memory, disk and the loss that would run.

    `folder` is where runs are to be written, the working directory if not given.
    """
    folder = folder or Path.cwd()
    parts: list[Callable[[], Iterator[Check]]] = [
        _python,
        _packages,
        _machine,
        lambda: _disk(folder),
        _isolation,
        _torch,
        _loss,
    ]
    return [check for part in parts for check in part()]


def _python() -> Iterator[Check]:
    version = platform.python_version()
    if sys.version_info[:2] < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        yield Check("python", "fail", version, f"python {least} or newer is needed")
    else:
        yield Check("python", "ok", f"{version} at {sys.executable}")


def _isolation() -> Iterator[Check]:
    if rung := isolation.best():
        yield Check("isolation", "ok", f"programs run behind {rung}")
    else:
        hint = "install bubblewrap, or a kernel with Landlock, to judge answers that are programs"
        yield Check("isolation", "warn", isolation.why_none(), hint)


def _packages() -> Iterator[Check]:
    for line in metadata.requires(DISTRIBUTION) or []:
        requirement = Requirement(line)
        extra = _extra(requirement)
        if extra in ("", "train"):
            yield check_package(requirement, extra)


def _extra(requirement: Requirement) -> str | None:
    """The extra that asks for a requirement, empty for the core; None if not for this machine."""
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return ""
    return "train" if marker.evaluate({"extra": "train"}) else None


def check_package(requirement: Requirement, extra: str = "") -> Check:
    """Whether `requirement` is met. A lack in the core is a failure, in an extra a warning."""
    wanted = f"{requirement.name}{requirement.specifier}"
    lack: Literal["warn", "fail"] = "warn" if extra else "fail"
    package = f"'{DISTRIBUTION}[{extra}]'" if extra else f"'{wanted}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        purpose = f", needed to {extra}" if extra else ""
        hint = f"pip install {package}"
        return Check(requirement.name, lack, f"not installed{purpose}", hint)
    if not requirement.specifier.contains(version, prereleases=True):
        detail = f"{version}, but {requirement.specifier} is needed"
        return Check(requirement.name, lack, detail, f"pip install '{wanted}'")
    return Check(requirement.name, "ok", version)


def _machine() -> Iterator[Check]:
    yield Check("processors", "ok", f"{processors()} ({platform.machine()})")
    room = memory_bytes()
    if room < LITTLE_MEMORY:
        hint = "the quickstart needs 6 GB; take a smaller student or shorter rows"
        yield Check("memory", "warn", f"{room / 1e9:.1f} GB", hint)
    else:
        yield Check("memory", "ok", f"{room / 1e9:.1f} GB")
    for device in nvidia_devices():
        peak = f", {device.peak_flops / 1e12:.0f} TFLOP/s" if device.peak_flops else ""
        yield Check("driver", "ok", f"{device.name}, {device.memory_bytes / 1e9:.0f} GB{peak}")


def _disk(folder: Path) -> Iterator[Check]:
    free = free_bytes(folder)
    if free < LITTLE_DISK:
        hint = "models and checkpoints take gigabytes; give another --run-dir"
        yield Check("disk", "warn", f"{free / 1e9:.1f} GB free at {folder}", hint)
    else:
        yield Check("disk", "ok", f"{free / 1e9:.1f} GB free at {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        hint = "go to a folder you can write to, or give --run-dir"
        yield Check("write access", "warn", f"{folder}: {error.strerror}", hint)
    else:
        yield Check("write access", "ok", str(folder))


def _torch() -> Iterator[Check]:
    try:
        import torch
    except ImportError:
        return
    except OSError as error:
        yield Check("torch loads", "warn", str(error), "pip install --force-reinstall torch")
        return
    if not torch.cuda.is_available():
        seen = nvidia_devices()
        if seen:
            hint = "this torch has no CUDA, or one newer than the driver; install a matching build"
            yield Check("device", "warn", f"cpu, though the driver sees {seen[0].name}", hint)
        else:
            yield Check("device", "ok", f"cpu, {torch.get_num_threads()} threads")
        yield Check("bf16", "ok", "fp32 is used on a CPU")
        return
    for index in range(torch.cuda.device_count()):
        p = torch.cuda.get_device_properties(index)
        capability = f"sm_{p.major}{p.minor}"
        detail = f"cuda:{index} {p.name}, {p.total_memory / 1e9:.0f} GB, {capability}"
        yield Check("device", "ok", detail)
    if torch.cuda.is_bf16_supported(including_emulation=False):
        yield Check("bf16", "ok", "the device computes in bf16")
    else:
        yield Check("bf16", "warn", "the device has no bf16", "set train.precision: fp32")


def _loss() -> Iterator[Check]:
    try:
        import torch

        from distill.losses.cuda_rows import row_form
        from distill.losses.kernels import FASTER, implementation, unfit
    except (ImportError, OSError):
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = implementation("auto", device, torch.float32)
    reasons = ""
    for impl in FASTER[: FASTER.index(chosen)] if chosen in FASTER else FASTER:
        reasons += f"; not {impl}, because {unfit(impl, device, torch.float32)}"
    if chosen == "cuda":
        reasons += f"; {row_form(USUAL_VOCABULARY)}"
    yield Check("loss", "ok", f"{chosen} (train.loss.impl: auto){reasons}")
