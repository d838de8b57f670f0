"""Duplicates of FILE by one process, a rank of many, or Ray: HOW FILE FOLDER SHARD_BYTES."""

from __future__ import annotations

import sys
from pathlib import Path

from traces.curate.dedup_files import dedup_files, dedup_rank


def main() -> None:
    how, path, folder, shard_bytes = sys.argv[1:]
    if how == "ray":
        import ray

        ray.init(
            num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False
        )
    if how.startswith("rank"):
        dedup_rank(
            [Path(path)], Path(folder), int(how[-1]), 2, field="text", threshold=0.7,
            shard_bytes=int(shard_bytes), patience_s=20.0,
        )  # fmt: skip
        return
    rows, _ = dedup_files(
        [Path(path)], field="text", threshold=0.7, work=Path(folder), ray=how == "ray",
        workers=2 if how == "two" else 1, shard_bytes=int(shard_bytes),
    )  # fmt: skip
    print(sum(row.kept for row in rows))


if __name__ == "__main__":
    main()
