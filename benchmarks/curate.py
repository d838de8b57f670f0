"""Curation against its peers on one core: copies found, verdicts, megabytes per CPU second.

    python -m benchmarks.curate [--traces 2000]

Peers (datasketch, rensa) are measured where they are installed; otherwise their figures are null.
The order of the measurements is interleaved over the rounds. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import verify_bench
from traces.curate import rows
from traces.curate.scan import read_grams, similarity, sketch
from traces.jsonio import Faults

WORDS = 4000


def trace(chosen: random.Random, words: int = 1100) -> str:
    """About 7 KB of prose with numbers and operators."""
    parts = []
    for _ in range(words):
        kind = chosen.random()
        if kind < 0.85:
            parts.append(f"{'bcdfglmnprst'[chosen.randrange(12)]}o{chosen.randrange(WORDS):x}")
        else:
            parts.append(str(chosen.randrange(1000)) if kind < 0.95 else chosen.choice("+-*/="))
    return " ".join(parts)


def edited(text: str, share: float, chosen: random.Random) -> str:
    """`share` of the words replaced by words that occur nowhere else."""
    words = text.split()
    for index in chosen.sample(range(len(words)), int(share * len(words))):
        words[index] = f"edit{chosen.randrange(10**9):x}"
    return " ".join(words)


def corpus(count: int, seed: int) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts, a fifth of them edited copies of others, and which are copies of which."""
    chosen = random.Random(seed)
    texts = [trace(chosen) for _ in range(count - count // 5)]
    pairs = []
    for _ in range(count // 5):
        of = chosen.randrange(count - count // 5)
        pairs.append((of, len(texts)))
        texts.append(edited(texts[of], chosen.choice([0.005, 0.01, 0.02, 0.03]), chosen))
    return texts, pairs


def cpu_s(work: Callable[[], Any]) -> float:
    """CPU seconds of this process that `work` takes."""
    start = time.process_time()
    work()
    return time.process_time() - start


def ours(path: Path, threshold: float) -> list[rows.DedupRow]:
    faults = Faults()
    return list(rows.dedup_rows(path, field="text", threshold=threshold, faults=faults))


def datasketch_dedup(texts: list[str]) -> None:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.8, num_perm=128)
    for number, text in enumerate(texts):
        words = text.split()
        sketched = MinHash(num_perm=128)
        sketched.update_batch([" ".join(words[i : i + 5]).encode() for i in range(len(words) - 4)])
        if not index.query(sketched):
            index.insert(str(number), sketched)


def rensa_dedup(texts: list[str]) -> None:
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=0.8, num_perm=128, num_bands=32)
    for number, text in enumerate(texts):
        words = text.split()
        sketched = RMinHash(num_perm=128, seed=1)
        sketched.update([" ".join(words[i : i + 5]) for i in range(len(words) - 4)])
        if not index.query(sketched):
            index.insert(number, sketched)


def measure_dedup(count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Megabytes per CPU second, the ratio to each peer, and recall over the planted copies."""
    rows.LARGE_BYTES = 0
    texts, pairs = corpus(count, 1)
    size = sum(map(len, texts))
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    small = folder / "small.jsonl"
    small.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[:5]))
    ours(small, 0.8)  # compiles, or loads what was compiled before
    times: dict[str, list[float]] = {"ours": []}
    few = texts[: max(50, count // 10)]
    for _ in range(rounds):
        times["ours"].append(cpu_s(lambda: ours(path, 0.8)) / size)
        for name, peer in (("datasketch", datasketch_dedup), ("rensa", rensa_dedup)):
            try:
                used = cpu_s(lambda peer=peer: peer(few))
            except ImportError:
                continue
            times.setdefault(name, []).append(used / sum(map(len, few)))
    speed = {name: statistics.median(found) for name, found in times.items()}
    figures: dict[str, Any] = {"dedup_mb_per_cpu_s": round(1e-6 / speed["ours"], 1)}
    for name in ("datasketch", "rensa"):
        ratio = round(speed[name] / speed["ours"], 1) if name in speed else None
        figures[f"dedup_times_{name}"] = ratio
    return figures | recall(texts, pairs, path)


def recall(texts: list[str], pairs: list[tuple[int, int]], path: Path) -> dict[str, Any]:
    """Share of the planted copies at or above each threshold of which one is dropped."""
    figures = {}
    grams = {n: read_grams(texts[n]) for pair in pairs for n in pair}
    for threshold in (0.8, 0.7):
        found = ours(path, threshold)
        alike = [p for p in pairs if similarity(grams[p[0]], grams[p[1]]) >= threshold]
        hit = sum(not (found[a].kept and found[b].kept) for a, b in alike)
        figures[f"dedup_recall_{threshold}"] = round(hit / len(alike), 5) if alike else None
        figures[f"dedup_pairs_{threshold}"] = len(alike)
    return figures


def measure_crowd(count: int, folder: Path) -> dict[str, Any]:
    """CPU seconds for near-identical refusals."""
    chosen = random.Random(2)
    base = "I am sorry, but I cannot help with that request. " + trace(chosen, 60)
    path = folder / "crowd.jsonl"
    lines = (json.dumps({"text": f"{base} item{n:x}"}) + "\n" for n in range(count))
    path.write_text("".join(lines))
    return {f"crowd_{count}_cpu_s": round(cpu_s(lambda: ours(path, 0.8)), 2)}


def measure_scan(texts: list[str]) -> dict[str, Any]:
    used = cpu_s(lambda: [sketch(text) for text in texts])
    return {"scan_mb_per_cpu_s": round(sum(map(len, texts)) / used / 1e6, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=2000)
    parser.add_argument("--crowd", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    verify_bench.add_options(parser)
    options = parser.parse_args()
    figures: dict[str, Any] = {"traces": options.traces}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures |= measure_dedup(options.traces, options.rounds, folder)
        figures |= measure_crowd(options.crowd, folder)
    figures |= measure_scan(corpus(200, 3)[0])
    figures |= verify_bench.measure(options)
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for key, value in figures.items():
        print(f"{key:28} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
