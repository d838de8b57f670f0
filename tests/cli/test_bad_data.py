"""What stops a run before it begins: one clear message, exit code 2, and no run directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.fault_server import Answer, Ask, FaultServer, error, good
from tests.tiny_llama import write_tokenizer

Distill = Callable[..., Any]

RECIPE = """\
name: small
prompts: [{kind: file, path: p.jsonl}]
teacher: {kind: solver}
student: {model: ./tiny}
evaluate: {problems: [{kind: file, path: h.jsonl}]}
"""
TASKS = """\
name: small
prompts: [{kind: task, task: largest-of-four, count: 4}]
teacher: {kind: solver}
student: {model: ./tiny}
evaluate: {problems: [{kind: task, task: largest-of-four, count: 4}], max_tokens: 4}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("tiny").symlink_to(tiny_model)
    Path("r.yaml").write_text(RECIPE)
    Path("tasks.yaml").write_text(TASKS)
    Path("p.jsonl").write_text('{"question": "What is 2 + 2?", "answer": "4"}\n')
    Path("h.jsonl").write_text('{"question": "What is 3 + 3?", "answer": "6"}\n')
    return tmp_path


PROMPTS = {
    "empty file": ("", "error: p.jsonl: the file is empty\n"),
    "broken lines": (
        '{"question": "a", "answer": "1"}\n{"question": \nnope\n[1]\n{x\n',
        "error: p.jsonl:2: broken JSON: Expecting value at column 14\n"
        "error: p.jsonl:3: broken JSON: Expecting value at column 1\n"
        "error: p.jsonl:4: a JSON array, not an object\n"
        "error: and 1 more broken lines\n"
        "hint: each line must be one JSON object\n",
    ),
    "no reference": (
        '{"question": "a", "answer": "1"}\n{"question": "b"}\n',
        "error: p.jsonl:2: no reference answer in column 'answer'\n"
        "hint: correct these rows, or set `verifier: none` for prompts without a checkable "
        "answer\n",
    ),
    "no column of references": (
        '{"question": "a"}\n',
        "error: p.jsonl: no column is known to hold the reference answer\n"
        "hint: set `answer:` to its name; the columns are: question; or set `verifier: none`\n",
    ),
    "evaluation problem among the training prompts": (
        '{"question": "What is  3 + 3 ?", "answer": "6"}\n',
        "error: 1 evaluation problem is among the training prompts:\n"
        "error: h.jsonl:1 is also p.jsonl:1\n"
        "hint: take them out of one of the two, or give the task sources different seeds\n",
    ),
}


@pytest.mark.parametrize("case", PROMPTS)
@pytest.mark.parametrize("command", ["run", "check"])
def test_bad_prompts_stop_before_anything_is_written(
    folder: Path, distill: Distill, command: str, case: str
) -> None:
    text, err = PROMPTS[case]
    Path("p.jsonl").write_text(text)
    assert distill(command, "r.yaml") == (2, "", err)
    assert not Path("runs").exists()


def test_bad_prompts_leave_an_older_run_as_it_was(folder: Path, distill: Distill) -> None:
    Path("tasks.yaml").write_text(RECIPE.replace("kind: file, path: p.jsonl", SOURCE))
    assert distill("curate", "tasks.yaml", "--quiet").code == 0
    before = _files(Path("runs"))
    Path("tasks.yaml").write_text(RECIPE)
    Path("p.jsonl").write_text("")
    err = "error: p.jsonl: the file is empty\n"
    assert distill("curate", "tasks.yaml", "--quiet") == (2, "", err)
    after = _files(Path("runs"))
    assert after.pop("small/log.txt", b"").endswith(b"error: p.jsonl: the file is empty\n")
    before.pop("small/log.txt", None)
    assert after == before


SOURCE = "kind: task, task: largest-of-four, count: 4"


def _files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _endpoint(url: str) -> str:
    teacher = f'{{kind: endpoint, base_url: "{url}", model: m, retries: 0}}'
    return RECIPE.replace("{kind: solver}", teacher)


REFUSALS: dict[str, tuple[Answer, list[str] | None, str]] = {
    "401": (
        error(401, "bad key"),
        None,
        "error: the endpoint {url}: HTTP 401: bad key\n"
        "hint: check the key in the environment variable that teacher.api_key_env names\n",
    ),
    "404": (
        error(404, "no such page"),
        None,
        "error: the endpoint {url}: HTTP 404: no such page\n"
        "hint: check teacher.base_url (up to and including /v1) and teacher.model; does "
        "`profile` name the interface that is there?\n",
    ),
    "wrong model": (
        good(),
        ["other", "m-large"],
        "error: the endpoint {url} does not serve 'm'; it has 'm-large', 'other'\n"
        "hint: write one of these in teacher.model\n",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_endpoint_that_refuses_stops_before_anything_is_written(
    folder: Path, distill: Distill, case: str
) -> None:
    answer, models, err = REFUSALS[case]

    def behave(ask: Ask) -> Answer:
        return answer

    with FaultServer(behave, models) as server:
        Path("r.yaml").write_text(_endpoint(server.url))
        result = distill("run", "r.yaml")
    assert result == (2, "", err.format(url=server.url))
    assert not Path("runs").exists()


def test_a_judge_that_refuses_is_named_as_the_judge(folder: Path, distill: Distill) -> None:
    with FaultServer(lambda ask: error(401, "bad key")) as server:
        judge = f"verify.judge.teacher={{kind: endpoint, base_url: '{server.url}', model: m}}"
        code, out, err = distill("check", "r.yaml", "--set", judge)
    assert (code, out) == (2, "")
    assert err == (
        f"error: the judge: the endpoint {server.url}: HTTP 401: bad key\n"
        "hint: check the key in the environment variable that "
        "verify.judge.teacher.api_key_env names\n"
    )


def test_an_endpoint_that_is_not_there_stops_before_anything_is_written(
    folder: Path, distill: Distill
) -> None:
    Path("r.yaml").write_text(_endpoint("http://127.0.0.1:1/v1"))
    assert distill("run", "r.yaml") == (
        2,
        "",
        "error: the endpoint http://127.0.0.1:1/v1: cannot connect: "
        "Connect call failed ('127.0.0.1', 1)\n"
        "hint: is the server running, and is teacher.base_url its address?\n",
    )
    assert not Path("runs").exists()


MODELS = {
    "no template": (
        "student={model: ./bare}",
        "error: the tokenizer of 'bare' has no chat template\n"
        "hint: use an instruction-tuned model, or add a chat_template to the tokenizer\n",
    ),
    "a template that refuses": (
        "student={model: ./picky}",
        "error: the chat template of 'picky' cannot render ['user']: only systems may speak\n"
        "hint: check the roles of the prompt's messages\n",
    ),
    "no model in the folder": (
        "student={model: ./empty}",
        "error: empty holds no model: config.json is missing\n",
    ),
    "no such model folder": (
        "student.model=./gone",
        "error: --set student.model=./gone: student.model: no file '{folder}/gone'\n",
    ),
    "a hub out of reach": (
        "student.model=some/student",
        "error: the hub at http://127.0.0.1:1 cannot be reached for 'some/student', and no copy "
        "of it is here\n"
        "hint: give a folder (./path), or download the model where there is a network\n",
    ),
    "an end of turn of several tokens": (
        "student.end_of_turn=qqq",
        "error: student.end_of_turn 'qqq' is 3 tokens, not one\n",
    ),
    "no adapter in the folder": (
        "teacher={kind: local, model: ./tiny, adapter: empty}",
        "error: empty holds no adapter: adapter_config.json is missing\n"
        "hint: teacher.adapter is a folder that `save_pretrained` of PEFT wrote\n",
    ),
    "no such adapter": (
        "teacher={kind: local, model: ./tiny, adapter: gone}",
        "error: --set teacher={kind: local, model: ./tiny, adapter: gone}: teacher.adapter: "
        "no file '{folder}/gone'\n",
    ),
}


@pytest.mark.parametrize("case", MODELS)
def test_a_model_that_cannot_be_used_stops_before_anything_is_written(
    folder: Path, distill: Distill, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    change, err = MODELS[case]
    Path("empty").mkdir()
    for name, template in (("bare", None), ("picky", "{{ raise_exception(words) }}")):
        write_tokenizer(Path(name), template and template.replace("words", repr(PICKY)))
        (Path(name) / "config.json").write_text(Path("tiny/config.json").read_text())
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    result = distill("run", "tasks.yaml", "--set", change)
    assert result == (2, "", err.replace("{folder}", str(folder)))
    assert not Path("runs").exists()


PICKY = "only systems may speak"

ROWS = {
    "all traces dropped": (
        "curate.min_tokens=5000",
        "error: all 4 traces were dropped (too_short: 4)\n"
        "hint: the reason for each is in runs/small/curate/decisions.jsonl; the rules are in the "
        "section `curate` of the recipe\n",
    ),
    "too many rows dropped": (
        "train.max_length=10",
        "error: 4 of 4 kept traces give no training row (too_long: 4)\n"
        "hint: raise train.max_length, or train.row_check.max_dropped_share if that is meant\n",
    ),
    "zero trained tokens": (
        "train={max_length: 10, row_check: {max_dropped_share: 1.0}}",
        "error: no token would be trained\nhint: check curation and train.max_length\n",
    ),
    "nothing left to train on": (
        "train.validation_share=1.0",
        "error: runs/small/dataset/rows.arrow holds no training rows\n"
        "hint: lower train.validation_share\n",
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_a_run_with_nothing_to_train_on_says_why_and_goes_on_once_mended(
    folder: Path, distill: Distill, case: str
) -> None:
    change, err = ROWS[case]
    assert distill("train", "tasks.yaml", "--quiet", "--set", change) == (2, "", err)
    assert not Path("runs/small/train/student").exists()
    manifest = json.loads(Path("runs/small/manifest.json").read_bytes())
    assert "harvest" in manifest["stages"]
    assert "train" not in manifest["stages"]
    assert not list(Path("runs").rglob("*.tmp"))


def test_saved_answers_to_other_questions_stop_before_anything_is_written(
    folder: Path, distill: Distill
) -> None:
    Path("r.yaml").write_text(RECIPE.replace("kind: solver", "kind: file, path: s.jsonl"))
    saved = {"question": "What is 5 + 5?", "generation": "<think>\nadd\n</think>\n\n10"}
    Path("s.jsonl").write_text(json.dumps(saved) + "\n")
    for command in ("check", "run"):
        code, out, err = distill(command, "r.yaml")
        assert (code, out) == (2, "")
        first, hint = err.splitlines()
        assert first.endswith("none of its 1 answers is to one of the 1 training prompts")
        assert hint.endswith("the first without a prompt: s.jsonl:1")
    assert not Path("runs").exists()
    Path("s.jsonl").write_text(json.dumps({**saved, "question": "What is 2 + 2?"}) + "\n")
    assert "answers to 1 of 1 training prompts" in distill("check", "r.yaml").out
