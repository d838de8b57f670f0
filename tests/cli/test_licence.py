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
