"""Two local Ray workers with the tiny model, then one for more prompts: MODEL, FOLDER."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from traces.keys import prompt_id
from traces.record import Message, Prompt, Sampling
from traces.scale import harvest_sharded, merge
from traces.teachers.local import LocalTeacher
from traces.teachers.protocol import Teacher


def build(model: str) -> Teacher:
    import torch

    torch.set_num_threads(1)
    return LocalTeacher(model, batch_size=4)


def ask(question: str) -> Prompt:
    messages = (Message("user", question),)
    return Prompt(prompt_id(messages, None), messages)


def main() -> None:
    model, folder = sys.argv[1:]
    import ray

    ray.init(
        num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False
    )
    for count, workers in ((8, 2), (10, 1)):
        paths = harvest_sharded(
            [ask(f"Is {number} even?") for number in range(count)],
            partial(build, model),
            Path(folder) / "shards",
            workers=workers,
            shards=3,
            samples=2,
            sampling=Sampling(max_tokens=4, temperature=0.7),
            seed=0,
            on_shard=lambda counts: print("shard", counts.asked, counts.reused, flush=True),
        )
        print("merged", len(paths), merge(paths, Path(folder) / "traces.sqlite"), flush=True)


if __name__ == "__main__":
    main()
