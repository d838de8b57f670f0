"""A harvest by in-process engines on many machines, as actors of Ray.

Prompts are dealt to a fixed number of shards by the hash that is their id. A worker holds one
engine and takes one shard after the other; each shard has a store file of its own, so every trace
is on disk where it was made and nothing goes through Ray but prompts and counts. Afterwards the
files are read as one, and a key that two of them hold with different traces is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from traces.errors import DataError, Interrupted, MissingDependencyError, PartialError
from traces.harvest import HarvestCounts, harvest
from traces.jsonio import write_json
from traces.record import Prompt, Sampling
from traces.store import TraceStore
from traces.stores import open_all
from traces.teachers.protocol import Teacher

POLL_S = 0.5
_DEALT = "shards.json"


def harvest_sharded(
    prompts: Sequence[Prompt],
    build: Callable[[], Teacher],
    folder: Path,
    *,
    workers: int,
    samples: int,
    sampling: Sampling,
    seed: int,
    shards: int | None = None,
    cpus: float = 1.0,
    gpus: float = 0.0,
    stopping: Callable[[], bool] = lambda: False,
    on_shard: Callable[[HarvestCounts], None] = lambda counts: None,
) -> list[Path]:
    """Fill one store in `folder` for each shard; returns their paths. Calling it again resumes.

    Args:
        prompts: As for `traces.harvest.harvest`.
        build: Makes the teacher, in each worker; sent there by Ray.
        folder: On a filesystem that all workers see.
        workers: Engines at a time.
        samples: As for `traces.harvest.harvest`.
        sampling: The same.
        seed: The same.
        shards: How many files; four for each worker if unset. What the folder was begun with stays,
            so the number of workers may change.
        cpus: Of each worker.
        gpus: Of each worker.
        stopping: Once true, workers are ended at once; what they have stored is kept.
        on_shard: Called with the counts of each shard that was finished.

    Raises:
        MissingDependencyError: Ray is not installed.
        PartialError: a worker was lost; what it had stored is kept.
        Interrupted: `stopping` turned true.
    """
    ray = import_ray("harvesting with several workers")
    count = _dealt(folder, shards or 4 * workers)
    hands = [[p for p in prompts if shard_of(p.id, count) == shard] for shard in range(count)]
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    actor = ray.remote(num_cpus=cpus, num_gpus=gpus)(_Worker)
    idle = [actor.remote(build) for _ in range(workers)]
    waiting = [(hand, shard_path(folder, shard)) for shard, hand in enumerate(hands) if hand]
    running: dict[Any, Any] = {}
    engines = list(idle)
    try:
        while waiting or running:
            while waiting and idle:
                worker, (hand, path) = idle.pop(), waiting.pop(0)
                running[worker.run.remote(hand, str(path), samples, sampling, seed)] = worker
            done, _ = ray.wait(list(running), timeout=POLL_S)
            for reference in done:
                idle.append(running.pop(reference))
                on_shard(msgspec.convert(ray.get(reference), HarvestCounts))
            if stopping():
                raise Interrupted("harvest stopped; what the workers stored is kept", "run again")
    except ray.exceptions.RayError as error:
        hint = "what it had stored is kept; the same command asks for the rest"
        raise lost_worker(error, hint) from error
    finally:
        for engine in engines:
            ray.kill(engine)
    return [shard_path(folder, shard) for shard, hand in enumerate(hands) if hand]


class _Worker:
    """One engine, in a process of its own."""

    def __init__(self, build: Callable[[], Teacher]) -> None:
        self.teacher = build()

    def run(
        self, prompts: list[Prompt], path: str, samples: int, sampling: Sampling, seed: int
    ) -> dict[str, Any]:
        """Harvest one shard; returns its counts as plain data."""
        with TraceStore.open(Path(path)) as store:
            counts = harvest(
                prompts, self.teacher, store, samples=samples, sampling=sampling, seed=seed
            )
        plain: dict[str, Any] = msgspec.to_builtins(counts)
        return plain


def merge(paths: Sequence[Path], target: Path) -> int:
    """Add what the stores at `paths` hold to the one at `target`; returns how many traces are new.

    Raises:
        CountError: a key is in two of the files with different traces.
    """
    added = 0
    with open_all(paths) as group, TraceStore.open(target) as store:
        known = store.attempts()
        store.add_prompts(group.prompts())
        for record in group.teachers().values():
            store.add_teacher(record)
        for trace in group.traces(latest=False):
            if trace.attempt > known.get(trace.key, 0):
                store.add(trace)
                added += 1
    return added


def shard_of(prompt_id: str, shards: int) -> int:
    """Which shard a prompt belongs to: all its samples to the same, for the prefix cache."""
    return int(prompt_id[:8], 16) % shards


def shard_path(folder: Path, shard: int) -> Path:
    """The store of one shard."""
    return folder / f"shard-{shard:05d}.sqlite"


def _dealt(folder: Path, shards: int) -> int:
    """How many shards the folder was begun with; begins it with `shards` where it is new."""
    path = folder / _DEALT
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, {"shards": shards})
        return shards
    try:
        found: int = msgspec.json.decode(path.read_bytes(), type=dict[str, int])["shards"]
    except (msgspec.MsgspecError, KeyError) as error:
        raise DataError(f"{path}: {error}", "restore it, or begin in another folder") from error
    return found


def lost_worker(error: Exception, hint: str) -> PartialError:
    """What to say of an error of Ray: the last line of its many."""
    said = str(error).strip().splitlines() or [type(error).__name__]
    return PartialError(f"a worker was lost: {said[-1]}", hint)


def import_ray(purpose: str) -> Any:
    """Ray, or the line that says how to get it for `purpose`."""
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise MissingDependencyError(
            f"{purpose} needs Ray", "pip install 'trace-distill[scale]'"
        ) from error
    return ray
