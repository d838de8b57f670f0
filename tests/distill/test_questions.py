from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from distill.pipeline import run_pipeline
from distill.progress import Silent
from distill.questions import write_questions
from distill.recipe_file import LoadedRecipe, load_recipe
from distill.sources import load_prompts, source_state
from tests.fault_server import Answer, Ask, FaultServer, error, good
from traces.errors import PartialError, RecipeError, UserError
from traces.record import Prompt
from traces.rows import read_structs
from traces.store import TraceStore

RECIPE = """\
name: lab
prompts:
  - kind: documents
    paths: [docs/*.md]
    passage_words: 12
    per_passage: 1
    teacher: {kind: endpoint, base_url: "%s", model: writer, licence: mit, retries: 0}
  - {kind: gym, dataset: chain_sum, count: 2}
  - {kind: hf, dataset: ./rows, limit: 2}
teacher: {kind: endpoint, base_url: "%s", model: m, licence: mit}
student: {model: some/student}
evaluate:
  problems:
    - {kind: task, task: largest-of-four, count: 4}
"""
FACTS = [f"Rock {name} melts at {700 + 50 * n} degrees." for n, name in enumerate("ABCDEFGH")]


def behave(ask: Ask) -> Answer:
    if ask.body["model"] == "writer" and "Passage:" in ask.text:
        fact = ask.text.rpartition("Passage:\n")[2].strip()
        rock = re.findall(r"Rock \w", fact)[0]
        item = {"question": f"When does {rock} melt?", "answer": "hot", "quote": fact[:20]}
        return good(json.dumps([item]))
    return good("fine")


def recipe(folder: Path, url: str) -> LoadedRecipe:
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "rows").mkdir(exist_ok=True)
    (folder / "docs/rocks.md").write_text("\n\n".join(FACTS))
    rows = [{"question": f"{n}+{n}?", "answer": str(2 * n)} for n in range(3)]
    (folder / "rows/train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "r.yaml"
    path.write_text(RECIPE % (url, url))
    return load_recipe(path)


def test_a_run_writes_the_questions_it_lacks_and_keeps_their_grounds(tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []

    def watch(ask: Ask) -> Answer:
        seen.append(ask.body)
        return behave(ask)

    with FaultServer(watch) as server:
        loaded = recipe(tmp_path, server.url)
        with pytest.raises(UserError, match="4 of 4 passages have no questions yet"):
            load_prompts(loaded, loaded.recipe.prompts, "train")
        run_pipeline(loaded, tmp_path / "run", upto="harvest", stopping=lambda: False, say=Silent())
        written = sum(body["model"] == "writer" for body in seen)
        state = source_state(loaded, loaded.recipe.prompts)
        assert write_questions(loaded)[0].counts.questions == 4
        assert source_state(loaded, loaded.recipe.prompts) == state
    assert sum(body["model"] == "writer" for body in seen) == written  # nothing is asked again
    prompts = read_structs(tmp_path / "run/prompts/training.jsonl", Prompt)
    assert [len([p for p in prompts if name in p.source]) for name in ("rocks", "gym", "rows")] == [
        4, 2, 2,
    ]  # fmt: skip
    text = (tmp_path / "docs/rocks.md").read_text()
    with TraceStore.open(tmp_path / "run/harvest/traces.sqlite", readonly=True) as store:
        kept = [p for p in store.prompts() if "rocks" in p.source]
    for prompt in kept:
        rock = prompt.messages[0].content.removeprefix("When does ").removesuffix(" melt?")
        assert text[slice(*prompt.metadata["quote"])].startswith("Rock ")
        assert rock in text[slice(*prompt.metadata["span"])]
    asked = [body for body in seen if body["messages"][-1]["content"].startswith("When does")]
    assert all("Answer from this passage" in body["messages"][0]["content"] for body in asked)
    assert len(asked) == 4


def test_failed_requests_are_asked_again_and_the_others_not(tmp_path: Path) -> None:
    broken = True

    def moody(ask: Ask) -> Answer:
        failing = broken and "Rock A" in ask.text
        return error(400) if failing else behave(ask)

    with FaultServer(moody) as server:
        loaded = recipe(tmp_path, server.url)
        with pytest.raises(PartialError, match="1 of 4 requests for questions failed"):
            write_questions(loaded)
        broken, before = False, sum(server.served.values())
        assert write_questions(loaded)[0].counts.questions == 4
        assert sum(server.served.values()) - before == 1 + 1  # the canary, and the one that failed


def test_a_hub_dataset_without_a_revision_is_refused(tmp_path: Path) -> None:
    loaded = recipe(tmp_path, "http://127.0.0.1:1/v1")
    text = loaded.text.decode().replace("dataset: ./rows", "dataset: openai/gsm8k")
    (tmp_path / "hub.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"hub.yaml:9: .*needs a revision"):
        load_recipe(tmp_path / "hub.yaml")
