"""The ledger of a store: STORE KEYS FOLDER HOW LEDGER; a rank of two makes its parts alone.

HOW is a number of processes, `ray`, or `rank0` and `rank1`.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from traces.curate.annotate import Item, ledger_of
from traces.curate.ledger import save_ledger
from traces.curate.measure_store import measure_store, phases, plan_of
from traces.phases import in_processes, in_ray, run_rank
from traces.store import TraceStore

SIZE = 40  # traces of a part


def main() -> None:
    store, keys, folder = map(Path, sys.argv[1:4])
    how, ledger = sys.argv[4:]
    if how.startswith("rank"):
        plan = plan_of(store, keys, folder, "these", SIZE)
        plan.folder.mkdir(parents=True, exist_ok=True)
        run_rank(plan.folder, phases(plan), int(how[-1]), 2, patience_s=1.0)
        return
    if how == "ray":
        import ray

        ray.init(
            num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False
        )
    each = in_ray if how == "ray" else partial(in_processes, int(how))
    rows = list(measure_store(store, keys, folder, "these", each, size=SIZE))
    with TraceStore.open(store, readonly=True) as opened:
        prompts = list(opened.prompts())

        def item_of(key: str) -> Item:
            trace = next(opened.traces(key_prefix=key))
            return Item(opened.prompt(trace.prompt_id), trace)

        found = ledger_of(
            rows, {}, prompts, evaluation_prompts=prompts[:1], overlap_ngram=8, floor=0.7,
            item_of=item_of,
        )  # fmt: skip
    save_ledger(Path(ledger), found, "these")


if __name__ == "__main__":
    main()
