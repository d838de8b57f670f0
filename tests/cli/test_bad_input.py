"""What a newcomer gets wrong: one clear line, exit code 2, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Distill = Callable[..., Any]

GOOD = """\
name: small
prompts:
  - kind: task
    task: largest-of-four
    count: 4
teacher:
  kind: solver
student:
  model: some/student
train:
  epochs: 2
evaluate:
  problems:
    - kind: task
      task: largest-of-four
      count: 4
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


ENDPOINT = "kind: endpoint\n  base_url: http://127.0.0.1:1/v1\n  model: m\n"
UNREADABLE = [
    (
        "unknown key",
        "  epochs: 2",
        "  epoch: 2",
        "error: r.yaml:11: train.epoch: unknown key; did you mean epochs?\n",
    ),
    (
        "wrong nesting",
        "train:\n  epochs: 2",
        "epochs: 2",
        "error: r.yaml:10: epochs: unknown key here; `epochs` belongs to train\n",
    ),
    (
        "wrong type",
        "epochs: 2",
        "epochs: two",
        "error: r.yaml:11: train.epochs: needs a number above 0, not 'two'\n",
    ),
    (
        "bad choice",
        "kind: solver",
        "kind: sovler",
        "error: r.yaml:7: teacher.kind: needs one of local, vllm, endpoint, file, store, solver, "
        "not 'sovler'; did you mean solver?\n",
    ),
    (
        "duplicate key",
        "  epochs: 2",
        "  epochs: 2\n  epochs: 3",
        "error: r.yaml:12: train.epochs: duplicate key, first set on line 11; keep one\n",
    ),
    (
        "tab indent",
        "  epochs: 2",
        "\tepochs: 2",
        "error: r.yaml:11: a tab in the indentation; indent with spaces\n",
    ),
    (
        "a seed that no generator takes",
        "name: small",
        "name: small\nseed: -1",
        "error: r.yaml:2: seed: needs a whole number of at least 0 and of at most 4294967295, "
        "not -1\n",
    ),
    (
        "more right answers than samples",
        "train:",
        "harvest: {until_right: 2}\ntrain:",
        "error: r.yaml:10: harvest: until_right 2 cannot be reached with samples 1; raise "
        "samples\n",
    ),
    (
        "missing file",
        "kind: solver",
        "kind: file\n  path: saved.jsonl",
        "error: r.yaml:8: teacher.path: no file '{folder}/saved.jsonl'\n",
    ),
    (
        "missing environment variable",
        "kind: solver\n",
        f"{ENDPOINT}  api_key_env: NO_SUCH_KEY\n",
        "error: r.yaml:10: teacher.api_key_env: the environment variable NO_SUCH_KEY is not set; "
        "run `export NO_SUCH_KEY=...`\n",
    ),
]


@pytest.mark.parametrize(
    ("old", "new", "err"),
    [case[1:] for case in UNREADABLE],
    ids=[case[0] for case in UNREADABLE],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_a_faulty_recipe_is_refused_before_anything_is_written(
    folder: Path, distill: Distill, command: str, old: str, new: str, err: str
) -> None:
    assert old in GOOD
    Path("r.yaml").write_text(GOOD.replace(old, new, 1))
    before = files(folder)
    assert distill(command, "r.yaml") == (2, "", err.replace("{folder}", str(folder)))
    assert files(folder) == before


def test_a_recipe_that_is_not_there_gets_the_nearest_one(folder: Path, distill: Distill) -> None:
    code, out, err = distill("run", "openai-compatibel")
    assert (code, out) == (2, "")
    first, hint = err.splitlines()
    assert first == "error: openai-compatibel: no such recipe; did you mean openai-compatible?"
    assert hint.startswith("hint: packaged recipes: ")
    assert files(folder) == {}


def test_a_folder_without_a_recipe_names_those_in_it(
    folder: Path, distill: Distill, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "mine").mkdir()
    (folder / "mine/r.yaml").write_text(GOOD)
    said = "no such recipe; the folder has no recipe.yaml, but"
    assert distill("run", "mine").err.startswith(f"error: mine: {said} mine/r.yaml\n")
    monkeypatch.chdir("mine")
    for name in (".", "../mine"):
        code, out, err = distill("run", name)
        assert (code, out) == (2, "")
        assert err.startswith(f"error: {name}: {said} ")


def test_a_key_that_stands_in_an_option_is_not_repeated(folder: Path, distill: Distill) -> None:
    Path("r.yaml").write_text(GOOD)
    code, out, err = distill("run", "r.yaml", "--set", "teacher.api_key=sk-1234")
    assert (code, out) == (2, "")
    assert err.startswith("error: --set teacher.api_key=***: teacher.api_key: unknown key")
    assert "sk-1234" not in err


@pytest.fixture
def pipeline() -> None:
    pytest.importorskip("distill.pipeline", reason="needs distill.pipeline")


def test_a_run_directory_of_another_recipe_is_left_alone(
    folder: Path, distill: Distill, pipeline: None
) -> None:
    Path("r.yaml").write_text(GOOD)
    assert distill("curate", "r.yaml", "--quiet").code == 0
    Path("r.yaml").write_text(GOOD.replace("name: small", "name: other"))
    before = files(folder)
    assert distill("curate", "r.yaml", "--run-dir", "runs/small") == (
        2,
        "",
        "error: runs/small holds a run of the recipe 'small', not of 'other'\n"
        "hint: choose another --run-dir, or delete the old run\n",
    )
    assert files(folder) == before


def test_a_directory_with_other_files_is_left_alone(
    folder: Path, distill: Distill, pipeline: None
) -> None:
    Path("r.yaml").write_text(GOOD)
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("precious")
    before = files(folder)
    assert distill("curate", "r.yaml", "--run-dir", "mine") == (
        2,
        "",
        "error: mine is not empty and holds no run\nhint: choose another --run-dir, or empty it\n",
    )
    assert files(folder) == before


def test_an_unknown_task_names_the_known_ones(
    folder: Path, distill: Distill, pipeline: None
) -> None:
    Path("r.yaml").write_text(GOOD.replace("task: largest-of-four", "task: largest", 1))
    code, out, err = distill("check", "r.yaml")
    assert (code, out) == (2, "")
    first, hint = err.splitlines()
    assert first == "error: no task family 'largest'"
    assert "largest-of-four" in hint
