"""The verifiers and the sandbox in figures; `benchmarks/curate.py` prints them with its own.

    python -m benchmarks.verify_bench [--hostile 10000] [--programs 1000] [--solutions 4000]

The last line is one JSON object. CPU times are those of the process that works.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.school_answers import hostile, solutions
from traces.record import Reference
from traces.verify import isolation
from traces.verify.attacks import ATTACKS, GOOD, judge
from traces.verify.check import Check
from traces.verify.pool import Pool
from traces.verify.rows import KINDS
from traces.verify.run import begin_check, score_text

HERE = Path(__file__).parent
SETS = tuple(
    f"{name}_answers.jsonl" for name in ("hard", "adversarial", "second", "third", "fourth")
)


def measure_numeric(rounds: int = 5) -> dict[str, Any]:
    """Verdicts per CPU second on the solutions that the numeric tier decides, none twice."""
    cases = [(Reference("math", s.gold), s.response, s.question) for s in solutions(4000, seed=1)]
    cases = [c for c in cases if _tier(begin_check(c[0], c[1], question=c[2])) in _NUMERIC]
    speeds = []
    for _ in range(rounds):
        start = time.process_time()
        for reference, response, question in cases:
            begin_check(reference, response, question=question)
        speeds.append(len(cases) / (time.process_time() - start))
    return {"numeric_per_cpu_s": round(statistics.median(speeds)), "numeric_cases": len(cases)}


_NUMERIC = ("numeric", "text")


def _tier(check: Check | Callable[[Pool], Check]) -> str:
    return check.tier if isinstance(check, Check) else "symbolic"


def measure_school(count: int) -> dict[str, Any]:
    """Agreement with the labels of made solutions, and how many needed the algebra system."""
    agreed = symbolic = 0
    wrong: Counter[str] = Counter()
    with Pool(1, 2.0) as pool:
        for one in solutions(count, seed=2):
            begun = begin_check(Reference("math", one.gold), one.response, question=one.question)
            symbolic += not isinstance(begun, Check)
            check = begun if isinstance(begun, Check) else begun(pool)
            agreed += check.outcome == ("right" if one.right else "wrong")
            if check.outcome == "right" and not one.right:
                wrong["false_accepts"] += 1
    return {
        "school_solutions": count,
        "school_agreement": round(agreed / count, 5),
        "school_false_accepts": wrong["false_accepts"],
        "school_before_symbolic": round(1 - symbolic / count, 4),
    }


def measure_hostile(count: int) -> dict[str, Any]:
    """Hostile answers on one worker: verdicts, the dearest in CPU seconds, workers lost."""
    outcomes: Counter[str] = Counter()
    dearest, lost = 0.0, 0
    with Pool(1, 2.0) as pool:
        score_text(Reference("math", "x+1"), "\\boxed{1+x}", lenient=False, pool=pool)
        for response in hostile(count):
            before = _cpu_s(pool)
            check = score_text(Reference("math", "5x"), response, lenient=False, pool=pool)
            dearest = max(dearest, _cpu_s(pool) - before)
            outcomes[check.outcome] += 1
            lost += "lost" in check.reason or check.reason == "time"
    return {
        "hostile_inputs": count,
        "hostile_outcomes": dict(outcomes),
        "hostile_dearest_cpu_s": round(dearest, 2),
        "hostile_workers_lost": lost,
    }


def _cpu_s(pool: Pool) -> float:
    """CPU time of this process, the pool's worker and the worker's children, dead ones too."""
    worker = pool._idle.queue[0]
    total = time.process_time()
    pids = [worker.process.pid] if worker.process else []
    while pids:
        pid = pids.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            pids += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        except FileNotFoundError:
            continue
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def measure_sets() -> dict[str, Any]:
    """Verdict counts on the hard sets, beside math-verify alone on their mathematics."""
    figures: dict[str, Any] = {}
    for name in SETS:
        cases = [json.loads(line) for line in (HERE / name).read_text().splitlines()]
        counts = {who: Counter[str]() for who in ("ours", "ours_math", "math_verify")}
        with Pool(1, 1.0) as pool:
            for case, check in zip(cases, _judged(cases, pool), strict=True):
                _count(counts["ours"], check.outcome, case["verdict"])
                if case["kind"] == "math":
                    _count(counts["ours_math"], check.outcome, case["verdict"])
                    _count(counts["math_verify"], math_verify(case), case["verdict"])
        figures[name.removesuffix("_answers.jsonl")] = {
            "cases": len(cases), **{who: dict(found) for who, found in counts.items()},
        }  # fmt: skip
    return figures


def _judged(cases: list[dict[str, Any]], pool: Pool) -> Iterator[Check]:
    for case in cases:
        reference = Reference(KINDS[case["kind"]], case["gold"], case.get("choices") or {})
        yield score_text(
            reference, case["response"], lenient=False, pool=pool, question=case["question"]
        )


def _count(counts: Counter[str], outcome: str, wanted: str) -> None:
    counts["cases"] += 1
    if outcome == "right" and wanted != "right":
        counts["false accepts"] += 1
    elif outcome == "wrong" and wanted == "right":
        counts["false rejects"] += 1
    elif outcome == "unknown" and wanted in ("right", "wrong"):
        counts["needless unknown"] += 1


def math_verify(case: dict[str, Any]) -> str:
    """What math-verify alone says, in this process, with its own limits."""
    from math_verify import parse, verify

    try:
        gold = parse(f"\\boxed{{{case['gold']}}}")
        return "right" if verify(gold, parse(case["response"])) else "wrong"
    except Exception:
        return "unknown"


def measure_sandbox(runs: int) -> dict[str, Any]:
    """Milliseconds over the candidate's own time, and processes left after hostile runs."""
    figures: dict[str, Any] = {}
    quick = [name for name in ATTACKS if name not in ("sleep", "never ending", "thread storm")]
    for rung in isolation.RUNGS:
        if isolation.missing(rung):
            figures[f"sandbox_{rung}"] = isolation.missing(rung)
            continue
        with Pool(1, 1.0, isolation=rung) as pool:
            judge(GOOD, pool)
            wall, used = _cost(pool)
            codes = (ATTACKS[quick[n % len(quick)]] for n in range(runs))
            outcomes = Counter(judge(code, pool).outcome for code in codes)
            left = _forked(pool)
        figures[f"sandbox_{rung}"] = {
            "wall_ms": wall, "cpu_ms": used, "hostile": dict(outcomes), "left": left,
        }  # fmt: skip
    return figures


def _cost(pool: Pool) -> tuple[float, float]:
    """Median wall time of an idle program, and the mean CPU time of all processes, in ms."""
    walls = []
    before = _zygote_cpu_s(pool)
    for _ in range(100):
        start = time.perf_counter()
        judge(GOOD, pool)
        walls.append(time.perf_counter() - start)
    used = (_zygote_cpu_s(pool) - before) / len(walls)
    return round(1e3 * statistics.median(walls), 2), round(1e3 * used, 2)


def _zygote_cpu_s(pool: Pool) -> float:
    total = time.process_time()
    for pid in _processes(pool):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return total


def _processes(pool: Pool) -> list[int]:
    """The server of programs and all that it, or bubblewrap before it, started."""
    worker = pool._programs.queue[0]
    found, left = [], [worker.process.pid] if worker.process else []
    while left:
        found.append(pid := left.pop())
        left += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return found


def _forked(pool: Pool) -> int:
    """How many processes there are beyond the server (and bubblewrap's two)."""
    worker = pool._programs.queue[0]
    return len(_processes(pool)) - (3 if worker.rung == "bwrap" else 1)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures. `options` has hostile, programs, solutions."""
    figures = measure_numeric() | measure_school(options.solutions) | measure_sets()
    figures |= measure_hostile(options.hostile) | measure_sandbox(options.programs)
    return figures


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `measure` reads."""
    parser.add_argument("--hostile", type=int, default=10_000)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--solutions", type=int, default=4000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser)
    figures = measure(parser.parse_args())
    figures["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    for key, value in figures.items():
        print(f"{key:28} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
