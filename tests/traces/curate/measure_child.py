"""The ledger of a store: STORE KEYS FOLDER WORKERS LEDGER."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from traces.curate.annotate import Item, ledger_of
from traces.curate.ledger import save_ledger
from traces.curate.measure_store import measure_store
from traces.phases import in_processes
from traces.store import TraceStore

SIZE = 40  # traces of a part


def main() -> None:
    store, keys, folder = map(Path, sys.argv[1:4])
    each = partial(in_processes, int(sys.argv[4]))
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
    save_ledger(Path(sys.argv[5]), found, "these")


if __name__ == "__main__":
    main()
