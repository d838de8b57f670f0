from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

RECIPE = """\
name: small
prompts: [{kind: task, task: largest-of-four, count: 6}]
teacher: {kind: endpoint, base_url: "https://api.deepseek.com/v1", model: deepseek-v3}
student: {model: some/student}
evaluate: {problems: [{kind: task, task: largest-of-four, count: 4}]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    (tmp_path / "r.yaml").write_text(RECIPE)
    return str(tmp_path / "r.yaml")


def test_a_pinned_text_is_known_again_and_another_is_not(
    distill: Any, recipe: str, tmp_path: Path
) -> None:
    text = tmp_path / "LICENSE"
    text.write_text("the licence")
    digest = hashlib.sha256(b"the licence").hexdigest()
    assert distill("licence", "hash", str(text)).out == f"{digest}\n"
    unpinned = distill("licence", "check", recipe, "--text", str(text))
    assert unpinned.code == 1
    assert "is not pinned" in unpinned.out
    assert "obligation (flow_down)" in unpinned.out
    assert "Open Platform Terms of Service" in unpinned.out
    pin = ("--set", f"teacher.licence_sha256={digest}")
    assert distill("licence", "check", recipe, "--text", str(text), *pin).code == 0
    text.write_text("the licence, changed")
    assert distill("licence", "check", recipe, "--text", str(text), *pin).code == 1


def test_the_registry_is_listed_with_what_is_not_pinned(distill: Any) -> None:
    assert "text not pinned" in distill("licence", "list").out
    assert json.loads(distill("licence", "list", "--json").out)["weights"]


STORE = """\
name: small
prompts: [{kind: store, path: s.sqlite}]
teacher: {kind: store, path: s.sqlite}
student: {model: some/student}
evaluate: {problems: [{kind: task, task: largest-of-four, count: 4}]}
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of one conversation, and the folder to work in."""
    monkeypatch.chdir(tmp_path)
    turns = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Hello."}]
    Path("log.json").write_text(json.dumps({"messages": turns}))
    Path("r.yaml").write_text(STORE)
    return Path("log.json")


@pytest.mark.parametrize("called", ["unknown", "gpt4", "gpt-4"])
def test_who_wrote_a_log_counts_whatever_the_recipe_calls_it(
    distill: Any, log: Path, called: str
) -> None:
    imported = ("traces", "import", log, "s.sqlite", "--format", "openai", "--model", "gpt-4")
    assert distill(*imported).code == 0
    name = ("--set", f"teacher.model={called}")
    for command in ("check", "curate"):
        code, out, err = distill(command, "r.yaml", *name)
        assert (code, out) == (2, "")
        assert "training on outputs of 'gpt-4' is forbidden" in err
    assert not Path("runs").exists()
    said = distill("licence", "check", "r.yaml", *name)
    assert "outputs for training: forbidden" in said.out
    assert distill("curate", "r.yaml", *name, "--quiet", "--licence-ack", "mine").code == 0
    manifest = json.loads(Path("runs/small/manifest.json").read_bytes())
    assert manifest["licence"]["model"] == "gpt-4"


def test_who_wrote_an_export_counts_too(distill: Any, log: Path) -> None:
    imported = ("traces", "import", log, "s.sqlite", "--format", "openai", "--model", "gpt-4")
    assert distill(*imported).code == 0
    assert distill("traces", "export", "s.sqlite", "e.jsonl").code == 0
    saved = ("--set", "teacher={kind: file, path: e.jsonl, model: ours}")
    code, out, err = distill("check", "r.yaml", *saved)
    assert (code, out) == (2, "")
    assert "training on outputs of 'gpt-4' is forbidden" in err


def test_a_licence_that_the_import_named_speaks_for_a_model_nobody_knows(
    distill: Any, log: Path
) -> None:
    imported = ("traces", "import", log, "s.sqlite", "--format", "openai", "--model", "ours")
    assert distill(*imported, "--licence", "mit").code == 0
    said = distill("licence", "check", "r.yaml").out
    assert said.startswith("licence: mit (as the recipe declares); outputs for training: allowed")
