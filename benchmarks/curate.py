"""Curation against its peers on one core: copies found, verdicts, megabytes per CPU second.

    python -m benchmarks.curate [--traces 2000]

Peers (datasketch, rensa, datatrove; see `benchmarks.dedup_peers`) are measured where they are
installed; otherwise their figures are null. They get texts in memory, ours reads a file; they check
no pair exactly. `..._canonical`: over the same tokens as ours; `..._split`: over what `str.split`
gives; `..._example_...`: as the peer's manual begins, the others by the bulk calls it gives for
speed. The measurements are interleaved over the rounds. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import verify_bench
from benchmarks.dedup_peers import PEERS, SLOW
from traces.curate import rows
from traces.curate.measure import COMPRESSION_LEVEL
from traces.curate.scan import exact_hash, measure, read_tokens, scan, similarity
from traces.curate.texts import Texts
from traces.jsonio import Faults
from traces.rows import write_structs

DECIDE: dict[str, Any] = {
    "policy": "prefer_right",
    "wrong_steps": "drop",
    "phrases": ("refusal", "identity", "cutoff"),
    "keep_truncated": False,
    "require_reasoning": False,
    "min_tokens": 1,
    "max_tokens": 8000,
    "foreign_script": 0.05,
    "loop_tail_chars": 400,
    "loop_ngram_share": 0.2,
    "loop_masked_share": None,
    "max_compression": None,
    "near_duplicate": 0.8,
    "overlap_coverage": 0.5,
    "per_prompt": 16,
}
ROOT = Path(__file__).parents[1]
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


def write_texts(path: Path, texts: Iterable[str]) -> Path:
    with path.open("w") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    return path


def measure_dedup(count: int, rounds: int, folder: Path) -> dict[str, Any]:
    """Megabytes per CPU second, the ratio to each peer, and recall over the planted copies."""
    texts, pairs = corpus(count, 1)
    size = sum(map(len, texts))
    path = write_texts(folder / "texts.jsonl", texts)
    ours(write_texts(folder / "small.jsonl", texts[:5]), 0.8)  # loads what was compiled
    times: dict[str, list[float]] = {"ours": [], "json": []}
    some, few = texts[: max(50, count // 4)], texts[: max(50, count // 20)]
    for _ in range(rounds):
        times["ours"].append(cpu_s(lambda: ours(path, 0.8)) / size)
        times["json"].append(cpu_s(lambda: read_only(path)) / size)
        for name, peer in PEERS.items():
            given = few if name in SLOW else some
            try:
                used = cpu_s(lambda peer=peer, given=given: peer(given))
            except ImportError:
                continue
            times.setdefault(name, []).append(used / sum(map(len, given)))
    speed = {name: min(found) for name, found in times.items()}
    figures: dict[str, Any] = {
        "dedup_mb_per_cpu_s": round(1e-6 / speed["ours"], 1),
        "dedup_mb_per_cpu_s_without_json": round(1e-6 / (speed["ours"] - speed["json"]), 1),
    }
    for name in PEERS:
        ratio = round(speed[name] / speed["ours"], 1) if name in speed else None
        figures[f"dedup_times_{name}"] = ratio
    return figures | recall(texts, pairs, path)


def read_only(path: Path) -> None:
    with Texts(path, "text", Faults()) as texts:
        for _ in texts.every():
            pass


def recall(texts: list[str], pairs: list[tuple[int, int]], path: Path) -> dict[str, Any]:
    """Share of the planted copies at or above each threshold of which one is dropped."""
    figures = {}
    grams = {n: read_tokens(texts[n]) for pair in pairs for n in pair}
    for threshold in (0.8, 0.7):
        found = ours(path, threshold)
        alike = [p for p in pairs if similarity(grams[p[0]], grams[p[1]]) >= threshold]
        hit = sum(not (found[a].kept and found[b].kept) for a, b in alike)
        figures[f"dedup_recall_{threshold}"] = round(hit / len(alike), 5) if alike else None
        figures[f"dedup_pairs_{threshold}"] = len(alike)
    return figures


def measure_crowd(count: int, folder: Path) -> dict[str, Any]:
    """CPU seconds for near-identical refusals."""
    base = "I am sorry, but I cannot help with that request. " + trace(random.Random(2), 60)
    path = write_texts(folder / "crowd.jsonl", (f"{base} item{n:x}" for n in range(count)))
    used = min(cpu_s(lambda: ours(path, 0.8)) for _ in range(2))
    return {f"crowd_{count}_cpu_s": round(used, 2)}


LARGE = """
import sys, time
from pathlib import Path
from benchmarks.harvest_many import peak_mib
from traces.curate import rows
from traces.curate.measure import COMPRESSION_LEVEL
from traces.jsonio import Faults
rows_of = lambda path: list(
    rows.dedup_rows(Path(path), field="text", threshold=0.8, faults=Faults())
)
rows_of(sys.argv[1])
before = peak_mib()
start = time.process_time()
found = rows_of(sys.argv[2])
used = time.process_time() - start
print(used, round(peak_mib() - before), sum(not row.kept for row in found))
"""


def measure_large(count: int, folder: Path) -> dict[str, Any]:
    """CPU seconds of a process of its own, and its peak of memory above that of a small file.

    A fifth of the texts are edited copies of others.
    """
    path = write_texts(folder / "large.jsonl", many_texts(count))
    call = [sys.executable, "-c", LARGE, str(folder / "small.jsonl"), str(path)]
    made = subprocess.run(call, cwd=ROOT, check=True, capture_output=True, text=True)
    used, memory, dropped = made.stdout.split()
    return {
        "large_traces": count,
        "large_mb": round(path.stat().st_size / 1e6),
        "large_cpu_s": round(float(used), 2),
        "large_mib_above": int(memory),
        "large_dropped": int(dropped),
    }


def many_texts(count: int) -> Iterator[str]:
    """As `corpus`, made from other words in another order, which costs less."""
    chosen = np.random.default_rng(4)
    texts = [text.split() for text in corpus(500, 4)[0]]
    earlier: list[list[str]] = []
    for number in range(count):
        if number % 5 == 4:
            words = list(earlier[int(chosen.integers(len(earlier)))])
            for place in chosen.choice(len(words), len(words) // 100, replace=False).tolist():
                words[place] = f"edit{number:x}{place:x}"
        else:
            words = texts[number % 500] + texts[(number // 500 + number) % 500][:120]
            words = [words[place] for place in chosen.permutation(len(words)).tolist()]
            if len(earlier) < 2000:
                earlier.append(words)
        yield " ".join(words)


def measure_filters(texts: list[str]) -> dict[str, Any]:
    """The cheap rules (length, scripts, loops, compression), and with sketch and exact hash."""
    import zstandard

    compress = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL).compress
    size = sum(map(len, texts)) / 1e6

    def cheap() -> None:
        for text in texts:
            measure(text)
            compress(text.encode())

    def everything() -> None:
        for text in texts:
            scan(text)
            compress(text.encode())
            exact_hash("", text)

    return {
        "filters_mb_per_cpu_s": round(size / min(cpu_s(cheap) for _ in range(5)), 1),
        "scan_all_mb_per_cpu_s": round(size / min(cpu_s(everything) for _ in range(5)), 1),
    }


def unread(key: str) -> Any:
    raise KeyError(f"{key}: a decision read a text")


def measure_decide(count: int, folder: Path) -> dict[str, Any]:
    """CPU seconds to read a ledger of `count` rows, decide anew and write the decisions."""
    from traces.curate.decide import decide
    from traces.curate.funnel import count_funnel
    from traces.curate.ledger import Ledger, Words, load_ledger, save_ledger

    chosen = np.random.default_rng(5)
    one = Words([""], np.zeros(count, np.int32))
    asked = [f"{n:032x}" for n in range(count // 8)]
    share = chosen.random(count) * 0.21
    place = np.arange(count, dtype=np.int32)
    copied = chosen.random(count) < 0.05
    original = np.where(copied, (place - 1) % count, -1).astype(np.int32)
    original[np.isin(original, place[copied])] = -1
    ledger = Ledger(
        *(0.7, [f"{n:064x}" for n in range(count)]),
        *(Words(asked, place // 8 % len(asked)), one, Words(["ok"], one.codes), one),
        flags=np.zeros(count, np.uint8),
        tokens=chosen.integers(50, 9000, count).astype(np.int32),
        tail=np.where(share > 0.205, 900, 0).astype(np.int32),
        **dict.fromkeys(("repeated", "repeated_masked"), share),
        **dict.fromkeys(("foreign", "overlap", "masked"), share / 5),
        **dict.fromkeys(("compression", "branching"), share + 2),
        answer=chosen.integers(0, 4, count).astype(np.uint8),
        steps=np.zeros(count, np.uint8),
        **dict.fromkeys(("steps_reason", "overlap_of", "masked_of"), one),
        same_as=place,
        copy_of=original,
        similarity=np.where(original >= 0, 0.9, 0.0),
        sketch=np.zeros((count, 64), np.uint8),
    )
    save_ledger(folder / "ledger.arrow", ledger, "")

    def again() -> None:
        found = load_ledger(folder / "ledger.arrow", "")
        assert found is not None
        decisions = decide(found, **DECIDE, item_of=unread)
        count_funnel(decisions)
        write_structs(folder / "decisions.jsonl", decisions)

    return {f"decide_{count}_cpu_s": round(cpu_s(again), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=2000)
    parser.add_argument("--crowd", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=0, help="such as 100000: 690 MB, 3 minutes")
    parser.add_argument("--ledger", type=int, default=100000)
    verify_bench.add_options(parser)
    options = parser.parse_args()
    figures: dict[str, Any] = {"traces": options.traces}

    def add(found: dict[str, Any]) -> None:
        """Shown at once: the whole takes a quarter of an hour."""
        figures.update(found)
        for key, value in found.items():
            print(f"{key:28} {value}", flush=True)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        add(measure_dedup(options.traces, options.rounds, folder))
        add(measure_crowd(options.crowd, folder))
        if options.large:
            add(measure_large(options.large, folder))
        add(measure_decide(options.ledger, folder))
    add(measure_filters(corpus(200, 3)[0]))
    add(verify_bench.measure(options))
    add({"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024})
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
