from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from distill.artifacts import Manifest
from distill.job import Job
from distill.judging import failed_opinions, rung_of
from distill.pipeline import run_pipeline
from distill.progress import Silent
from distill.recipe_file import LoadedRecipe, load_recipe
from distill.run import read_struct
from tests.fault_server import Answer, Ask, FaultServer, error, good
from tests.tiny_recipe import Recorder, run
from tests.tiny_traces import make_prompt, make_trace
from traces.errors import DataError, RecipeError, TeacherError
from traces.record import Verdict
from traces.rows import read_structs, write_structs
from traces.store import TraceStore
from traces.verify.isolation import best
from traces.verify.judge import Judgement

RECIPE = """\
name: judged
prompts: [{kind: file, path: q.jsonl%s}]
teacher: {kind: endpoint, base_url: "%s", model: m, licence: mit}
harvest: {temperature: 0}
%s
student: {model: some/student}
evaluate:
  problems:
    - {kind: task, task: largest-of-four, count: 4}
"""
JUDGE = """\
verify:
  workers: 1
  judge:
    teacher:
      {kind: endpoint, base_url: "%s", model: judge, retries: 0, price: {prompt: 1, completion: 1}}
    max_tokens: 100
"""
ROWS = {  # question: gold, what the teacher says, what the judge says
    "boxed?": ("42", "\\boxed{42}", ""),
    "open?": ("7", "there are seven of them", "correct"),
    "refuted?": ("8", "there are nine of them", "incorrect"),
    "fickle?": ("9", "nine or so", "first is correct"),
    "typed?": ("(1,2)", "\\boxed{\\{1,2\\}}", "correct"),
    "what percent?": ("12\\%", "\\boxed{0.12}", "correct"),
}


def behave(ask: Ask) -> Answer:
    if ask.body["model"] == "m":
        return good(next((row[1] for name, row in ROWS.items() if name in ask.text), "ok"))
    said = next((row[2] for name, row in ROWS.items() if name in ask.text), "correct")
    if said == "first is correct":
        gold_first = ask.text.index("<reference-") < ask.text.index("<candidate-")
        said = "correct" if gold_first else "incorrect"
    usage = {"prompt_tokens": 400, "completion_tokens": 50}
    return good(f"So: \\boxed{{{said}}}", usage=usage)


def recipe(folder: Path, url: str, *overrides: str, judge: str = JUDGE) -> LoadedRecipe:
    rows = [{"question": name, "answer": row[0]} for name, row in ROWS.items()]
    (folder / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "r.yaml"
    path.write_text(RECIPE % (", verifier: math", url, judge % url if judge else ""))
    return load_recipe(path, overrides=overrides)


def verdicts(run_dir: Path) -> dict[str, list[Verdict]]:
    with TraceStore.open(run_dir / "harvest/traces.sqlite", readonly=True) as store:
        asked = {prompt.id: prompt.messages[0].content for prompt in store.prompts()}
        names = {trace.key: asked[trace.prompt_id] for trace in store.traces()}
    found: dict[str, list[Verdict]] = {}
    for verdict in read_structs(run_dir / "verify/verdicts.jsonl", Verdict):
        found.setdefault(names[verdict.key], []).append(verdict)
    return found


def outcomes(run_dir: Path) -> dict[str, list[str]]:
    return {name: [v.outcome for v in each] for name, each in verdicts(run_dir).items()}


def test_a_judge_settles_what_both_orders_agree_on_and_the_rules_leave_open(tmp_path: Path) -> None:
    judging: Counter[str] = Counter()

    def watch(ask: Ask) -> Answer:
        judging[ask.body["model"]] += "<candidate-" in ask.text
        return behave(ask)

    with FaultServer(watch) as server:
        loaded = recipe(tmp_path, server.url)
        _, said = run(loaded, tmp_path / "run", upto="curate")
        assert judging["judge"] == 2 * 5
        changed = recipe(tmp_path, server.url, "verify.steps=false")
        _, again = run(changed, tmp_path / "run", upto="verify")
    assert "verify" in again.ran
    assert judging["judge"] == 2 * 5  # nothing is paid for twice
    assert outcomes(tmp_path / "run") == {
        "boxed?": ["right"],
        "open?": ["unknown", "right"],
        "refuted?": ["unknown", "wrong"],
        "fickle?": ["unknown"],
        "typed?": ["wrong"],
        "what percent?": ["wrong", "right"],
    }
    found = read_structs(tmp_path / "run/verify/judged.jsonl", Judgement)
    assert sorted((j.why, j.outcome, j.applied) for j in found) == [
        ("conflict", "right", False),
        ("conflict", "right", True),
        ("unknown", "right", True),
        ("unknown", "unknown", False),
        ("unknown", "wrong", True),
    ]
    (old, new) = verdicts(tmp_path / "run")["what percent?"]
    assert (old.tier, new.verifier) == ("numeric", "judge@1")
    assert new.reason.startswith("judge; was wrong (numeric")
    assert any("10 opinions asked" in note for note in said.notes)
    decisions = (tmp_path / "run/curate/decisions.jsonl").read_text()
    assert decisions.count('"kept":true') == 6  # prefer_right: a lone wrong trace stays
    with TraceStore.open(tmp_path / "run/verify/judge.sqlite", readonly=True) as store:
        assert all((trace.cost_micro_usd or 0) > 0 for trace in store.traces())


def test_at_the_cap_the_rest_stays_as_it_is_and_more_money_asks_for_the_rest(
    tmp_path: Path,
) -> None:
    with FaultServer(behave) as server:
        poor = recipe(tmp_path, server.url, "verify.judge.max_usd=0.0025")
        _, said = run(poor, tmp_path / "run", upto="verify")
        assert any("opinions were not asked" in note for note in said.notes)
        few = sum(server.served.values())
        assert sum(len(each) for each in outcomes(tmp_path / "run").values()) < 9
        rich = recipe(tmp_path, server.url, "verify.judge.max_usd=1")
        run(rich, tmp_path / "run", upto="verify")
        with TraceStore.open(tmp_path / "run/verify/judge.sqlite", readonly=True) as store:
            assert len(list(store.traces(latest=False))) == 2 * 5
        assert sum(server.served.values()) > few
    assert sum(len(each) for each in outcomes(tmp_path / "run").values()) == 9


def test_a_judge_that_refuses_ends_the_stage_and_the_same_command_goes_on(
    tmp_path: Path,
) -> None:
    broken = True

    def moody(ask: Ask) -> Answer:
        return error(400) if broken and "<candidate-" in ask.text else behave(ask)

    with FaultServer(moody) as server:
        loaded = recipe(tmp_path, server.url)
        with pytest.raises(TeacherError, match="HTTP 400"):
            run(loaded, tmp_path / "run", upto="verify")
        broken = False
        run(loaded, tmp_path / "run", upto="verify", say=Recorder())
    assert outcomes(tmp_path / "run")["open?"] == ["unknown", "right"]


def test_a_single_request_that_failed_is_asked_again_on_request_only(tmp_path: Path) -> None:
    judging: Counter[str] = Counter()
    broken = True

    def moody(ask: Ask) -> Answer:
        judging["asked"] += "<candidate-" in ask.text
        if broken and "open?" in ask.text and "<candidate-" in ask.text:
            return error(500)
        return behave(ask)

    with FaultServer(moody) as server:
        loaded = recipe(tmp_path, server.url)
        options: dict[str, Any] = {"upto": "verify", "stopping": lambda: False}
        run(loaded, tmp_path / "run", upto="verify")
        assert outcomes(tmp_path / "run")["open?"] == ["unknown"]
        asked, broken = judging["asked"], False
        _, said = run(loaded, tmp_path / "run", upto="verify")
        assert said.ran == []
        again = Recorder()
        run_pipeline(loaded, tmp_path / "run", retry_failed=True, say=again, **options)
        assert again.ran == ["verify"]
        assert "2 requests to the judge failed: asking again" in again.notes
        assert judging["asked"] == asked + 2
        assert outcomes(tmp_path / "run")["open?"] == ["unknown", "right"]
        last = Recorder()
        run_pipeline(loaded, tmp_path / "run", retry_failed=True, say=last, **options)
        assert last.ran == []
        assert "no request failed: nothing to ask again" in last.notes


def test_what_failed_and_no_result_of_the_recipe_names_is_not_asked_again(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, "http://none")
    job = Job(loaded, tmp_path / "run", lambda: False, Silent())
    prompt = make_prompt()
    with TraceStore.open(job.path("verify/judge.sqlite")) as store:
        for said in ("of an earlier judge", "of a question that is gone", "of now", "is final"):
            trace = make_trace(prompt, said)
            status = "ok" if said == "is final" else "http_error"
            store.add(msgspec.structs.replace(trace, key=said, status=status))
    one = Judgement("k", "unknown", "unknown", "", (), "unknown", False, ("of now", "is final"))
    assert failed_opinions(job) == 0
    write_structs(job.path("verify/judged.jsonl"), [one])
    assert failed_opinions(job) == 1
    bare = recipe(tmp_path, "http://none", judge="")
    job.loaded = bare
    assert failed_opinions(job) == 0


def test_only_a_program_that_found_no_isolation_counts_as_run_in_none() -> None:
    unread = Verdict("a", "answer", "code@2", "unknown", reason="no final answer")
    ran = Verdict("b", "answer", "code@2/nsjail", "right")
    bare = Verdict("c", "answer", "code@2", "unknown", reason="no isolation of programs here")
    assert [rung_of(one) for one in (unread, ran, bare)] == ["", "nsjail", "none"]


def test_rubrics_need_a_judge_whose_quotes_occur_in_the_answer(tmp_path: Path) -> None:
    rubric = {"criteria": [{"criterion": "says how many", "weight": 3}, {"criterion": "is polite"}]}
    rows = [{"question": name, "answer": rubric} for name in ROWS]

    def rate(ask: Ask) -> Answer:
        if ask.body["model"] == "m" or "<criteria-" not in ask.text:
            return behave(ask)
        quote = "there are seven" if "open?" in ask.text else "not in the answer"
        return good(json.dumps([
            {"criterion": 1, "met": True, "evidence": quote},
            {"criterion": 2, "met": False, "evidence": ""},
        ]))  # fmt: skip

    with FaultServer(rate) as server:
        recipe(tmp_path, server.url)
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "q.jsonl").write_text(text)
        path = tmp_path / "r.yaml"
        path.write_text(RECIPE % (", verifier: rubric", server.url, ""))
        with pytest.raises(DataError, match="6 training prompts have a rubric and no judge"):
            run(load_recipe(path), tmp_path / "run", upto="verify")
        path.write_text(RECIPE % (", verifier: rubric", server.url, JUDGE % server.url))
        run(load_recipe(path), tmp_path / "run", upto="verify")
    assert [each[-1] for each in outcomes(tmp_path / "run").values()].count("right") == 1
    assert outcomes(tmp_path / "run")["open?"] == ["unknown", "right"]
    found = read_structs(tmp_path / "run/verify/judged.jsonl", Judgement)
    assert sorted(j.score or 0.0 for j in found) == [0.0] * 5 + [0.75]


def test_the_manifest_names_what_programs_ran_in(tmp_path: Path) -> None:
    def program(ask: Ask) -> Answer:
        return good("```python\ndef f(x):\n    return x + 1\n```")

    with FaultServer(program) as server:
        recipe(tmp_path, server.url)
        row = {"question": "Add one.", "answer": {"entry": "f", "tests": [[[1], 2]]}}
        (tmp_path / "q.jsonl").write_text(json.dumps(row) + "\n")
        path = tmp_path / "r.yaml"
        path.write_text(RECIPE % (", verifier: code", server.url, ""))
        run(load_recipe(path), tmp_path / "run", upto="verify")
    manifest = read_struct(tmp_path / "run/manifest.json", Manifest)
    assert manifest.isolation == [best() or "none"]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("verify.judge.teacher={kind: solver}", "needs one of local, vllm, endpoint"),
        ("verify.judge={teacher: {kind: local, model: ./r.yaml}, max_usd: 1}", "price"),
        ("verify.judge.teacher.worked_examples=2", "worked_examples"),
    ],
)  # fmt: skip
def test_a_judge_that_cannot_be_is_named_by_its_place(
    tmp_path: Path, override: str, fault: str
) -> None:
    with pytest.raises(RecipeError, match=fault):
        recipe(tmp_path, "http://127.0.0.1:1/v1", override)
