"""A harvest by batches in a process of its own, to be killed: URL, store, prompts, profile."""

from __future__ import annotations

import sys
from pathlib import Path

from traces.harvest import harvest
from traces.keys import prompt_id
from traces.record import Message, Prompt, Sampling
from traces.store import TraceStore
from traces.teachers.batch import BatchTeacher


def main() -> None:
    url, path, count, profile = sys.argv[1:]
    prompts = []
    for number in range(int(count)):
        messages = (Message("user", f"question {number}"),)
        prompts.append(Prompt(prompt_id(messages, None), messages))
    teacher = BatchTeacher(base_url=url, model="m", profile=profile, poll_s=0.05, max_requests=5)
    with TraceStore.open(Path(path)) as store:
        counts = harvest(
            prompts, teacher, store, samples=1, sampling=Sampling(max_tokens=50), seed=0
        )
    print("done", counts.asked, counts.failed, flush=True)


if __name__ == "__main__":
    main()
