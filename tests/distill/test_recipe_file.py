from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from distill.recipe import FileSource, Recipe
from distill.recipe_file import LoadedRecipe, load_recipe, packaged_recipes, recipe_schema
from distill.yaml_lines import read_yaml
from traces.errors import RecipeError

GOOD = """\
name: small
prompts:
  - kind: file
    path: prompts.jsonl
teacher:
  kind: local
  model: some/teacher
student:
  model: some/student
evaluate:
  problems:
    - {kind: task, task: largest-of-four, count: 10}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "prompts.jsonl").write_text("{}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(text: str | bytes, *overrides: str) -> LoadedRecipe:
    payload = text.encode() if isinstance(text, str) else text
    Path("r.yaml").write_bytes(payload)
    return load_recipe("r.yaml", overrides=overrides)


def faults(text: str | bytes, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load(text, *overrides)
    return caught.value.message.splitlines()


def test_a_good_recipe_is_read_with_its_source(folder: Path) -> None:
    loaded = load(GOOD)
    assert loaded.recipe.name == "small"
    assert loaded.path == Path("r.yaml")
    assert loaded.text == GOOD.encode()
    assert loaded.sha == hashlib.sha256(GOOD.encode()).hexdigest()
    assert loaded.base == folder
    assert loaded.resolve("prompts.jsonl").samefile(folder / "prompts.jsonl")
    assert loaded.resolve("/x") == Path("/x")


@pytest.mark.parametrize(
    ("addition", "fault"),
    [
        ("trian: {}", "r.yaml:13: trian: unknown key; did you mean train?"),
        ("train: {epoch: 1}", "r.yaml:13: train.epoch: unknown key; did you mean epochs?"),
        ("train: {lr: 1}", "r.yaml:13: train.lr: unknown key; did you mean learning_rate?"),
        ("epochs: 3", "r.yaml:13: epochs: unknown key here; `epochs` belongs to train"),
        (
            "temperature: 1",
            "r.yaml:13: temperature: unknown key here; `temperature` belongs to harvest, "
            "train.loss.kd or evaluate",
        ),
        (
            "train:\n  rank: 8",
            "r.yaml:14: train.rank: unknown key here; `rank` belongs to train.lora",
        ),
        (
            "harvest: {concurrency: 8}",
            "r.yaml:13: harvest.concurrency: unknown key here; `concurrency` belongs to teacher "
            "(kind: endpoint)",
        ),
        (
            "train.epochs: 3",
            "r.yaml:13: train.epochs: unknown key; nest it: write `epochs` under `train:`",
        ),
        (
            "learning_rates: 3",
            "r.yaml:13: learning_rates: unknown key; did you mean `learning_rate` of train?",
        ),
        (
            "verify: {zzz: 1}",
            "r.yaml:13: verify.zzz: unknown key; allowed: steps, timeout_s, workers, judge",
        ),
        (
            "train:\n  epochs: three",
            "r.yaml:14: train.epochs: needs a number above 0, not 'three'",
        ),
        (
            "train: {batch_size: 1.5}",
            "r.yaml:13: train.batch_size: needs a whole number above 0, not 1.5",
        ),
        (
            "train: {batch_size: true}",
            "r.yaml:13: train.batch_size: needs a whole number above 0, not true",
        ),
        (
            "train: {learning_rate: nan}",
            "r.yaml:13: train.learning_rate: needs a number above 0, not 'nan'",
        ),
        (
            "train: {learning_rate: 1e999}",
            "r.yaml:13: train.learning_rate: needs a number above 0, not inf",
        ),
        (
            "description: 12",
            "r.yaml:13: description: needs text, not 12; put it in quotes",
        ),
        (
            "train: {mode: loar}",
            "r.yaml:13: train.mode: needs one of lora, qlora, full, not 'loar'; did you mean lora?",
        ),
        (
            "verify: {steps: maybe}",
            "r.yaml:13: verify.steps: needs true or false, not 'maybe'",
        ),
        (
            "curate: {near_duplicate: 2}",
            "r.yaml:13: curate.near_duplicate: needs a number of at least 0 and of at most 1 or "
            "null, not 2",
        ),
        ("harvest:", "r.yaml:13: harvest: is empty; indent its keys under it, or delete the line"),
        ("harvest: 3", "r.yaml:13: harvest: needs a section of keys, not 3"),
        ("name: other", "r.yaml:13: name: duplicate key, first set on line 1; keep one"),
        (
            "harvest:\n\tsamples: 3",
            "r.yaml:14: a tab in the indentation; indent with spaces",
        ),
    ],
)  # fmt: skip
def test_a_fault_is_one_line_with_place_and_remedy(folder: Path, addition: str, fault: str) -> None:
    assert faults(f"{GOOD}{addition}\n") == [fault]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("student:\n  model: some/student\n", "", "r.yaml:1: student: is missing; it needs a "
         "section of keys"),
        ("kind: local", "kind: lokal", "r.yaml:6: teacher.kind: needs one of local, vllm, endpoint,"
         " file, store, solver, not 'lokal'; did you mean local?"),
        ("  kind: local\n", "", "r.yaml:5: teacher.kind: is missing; it needs one of local, "
         "vllm, endpoint, file, store, solver; did you mean `kind: local`?"),
        ("kind: local", "kind: local\n  base_url: x", "r.yaml:7: teacher.base_url: unknown key "
         "here; `base_url` belongs to teacher (kind: endpoint)"),
        ("path: prompts.jsonl", "path: promts.jsonl", "r.yaml:4: prompts[0].path: no file "
         "'{folder}/promts.jsonl'; did you mean prompts.jsonl?"),
        ("model: some/teacher", "model: ./teacher", "r.yaml:7: teacher.model: no file "
         "'{folder}/teacher'"),
        ("model: some/teacher", "model: a\n  adapter: adapter", "r.yaml:8: teacher.adapter: no "
         "file '{folder}/adapter'"),
        ("kind: local\n  model: some/teacher", "kind: file\n  path: saved.jsonl", "r.yaml:7: "
         "teacher.path: no file '{folder}/saved.jsonl'"),
        ("kind: local\n  model: some/teacher", "kind: endpoint\n  base_url: http://x/v1\n"
         "  model: m\n  api_key_env: NO_SUCH_KEY", "r.yaml:9: teacher.api_key_env: the environment "
         "variable NO_SUCH_KEY is not set; run `export NO_SUCH_KEY=...`"),
        ("  problems:\n    - {kind: task, task: largest-of-four, count: 10}", "  problems: []",
         "r.yaml:11: evaluate.problems: needs at least one item"),
        ("evaluate:\n", "evaluate:\n  models: base\n", "r.yaml:11: evaluate.models: needs a list "
         "(one of base, teacher, student), not 'base'; write [base]"),
        ("name: small", "name: a b", "r.yaml:1: name: needs text that matches "
         "^[A-Za-z0-9][A-Za-z0-9._-]*$, not 'a b'"),
    ],
)  # fmt: skip
def test_faults_inside_lists_and_kinds_name_their_field(
    folder: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, fault: str
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    assert old in GOOD
    assert faults(GOOD.replace(old, new)) == [fault.replace("{folder}", str(folder))]


def test_all_faults_come_at_once_in_the_order_of_the_file(folder: Path) -> None:
    text = f"{GOOD.replace('kind: local', 'kind: lokal')}sed: 1\ntrain: {{mode: x, epochs: y}}\n"
    assert [line.split(" ")[:2] for line in faults(text, "train.batch_size=0")] == [
        ["r.yaml:6:", "teacher.kind:"],
        ["r.yaml:13:", "sed:"],
        ["r.yaml:14:", "train.mode:"],
        ["r.yaml:14:", "train.epochs:"],
        ["--set", "train.batch_size=0:"],
    ]


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", "r.yaml:1: the recipe is empty; `distill init` writes one to edit"),
        (b"# only a comment\n", "r.yaml:1: the recipe is empty; `distill init` writes one to edit"),
        (b"- a\n", "r.yaml:1: a recipe is a mapping of keys, not a list"),
        (b"name: x\nb: caf\xe9\n", "r.yaml:2: not UTF-8 text; save the file as UTF-8"),
    ],
)
def test_a_file_that_is_no_recipe_says_so(folder: Path, payload: bytes, fault: str) -> None:
    assert faults(payload) == [fault]


def test_a_missing_recipe_names_the_nearest_packaged_one_and_file(folder: Path) -> None:
    Path("mine.yaml").write_text(GOOD)
    with pytest.raises(RecipeError) as caught:
        load_recipe("openai-compatibel")
    assert caught.value.message == (
        "openai-compatibel: no such recipe; did you mean openai-compatible?"
    )
    with pytest.raises(RecipeError) as caught:
        load_recipe("nime.yaml")
    assert caught.value.message == "nime.yaml: no such recipe; did you mean mine.yaml?"
    assert "openai-compatible" in caught.value.hint


def test_a_folder_with_a_recipe_in_it_is_a_recipe(folder: Path) -> None:
    Path("sub").mkdir()
    Path("sub/recipe.yaml").write_text(GOOD)
    assert load_recipe("sub", check_files=False).base == folder / "sub"


def test_yaml_traps_are_what_their_writer_meant(folder: Path) -> None:
    text = f"{GOOD}train: {{learning_rate: 1e-4, gradient_checkpointing: no}}\ncurate:\n"
    text += "  keep_truncated: yes\n  overlap: null\n"
    recipe = load(f"{text}description: no\n").recipe
    assert recipe.train.learning_rate == 1e-4
    assert recipe.train.gradient_checkpointing is False
    assert recipe.curate.keep_truncated is True
    assert recipe.curate.overlap is None
    assert recipe.description == "no"


def test_a_byte_order_mark_and_dos_line_ends_are_read(folder: Path) -> None:
    assert load(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode()).recipe.name == "small"


def test_overrides_reach_sections_lists_and_whole_values(folder: Path) -> None:
    given = (
        "train.epochs=2",
        "train.lora.rank=4",
        "evaluate.problems.0.count=7",
        "evaluate.models=[base, student]",
        "teacher={kind: solver}",
        "description='a: b'",
        "seed=3",
    )
    loaded = load(GOOD, *given)
    recipe = loaded.recipe
    assert (recipe.train.epochs, recipe.train.lora.rank, recipe.seed) == (2.0, 4, 3)
    assert recipe.evaluate.models == ["base", "student"]
    assert recipe.teacher.kind == "solver"
    assert recipe.description == "a: b"
    assert loaded.sha != load(GOOD).sha
    assert Recipe.model_validate(read_yaml(loaded.text.decode(), "f").value) == recipe


def test_the_effective_recipe_keeps_text_that_looks_like_a_number(folder: Path) -> None:
    loaded = load(f'{GOOD}description: "1e-4"\n', "seed=1")
    assert Recipe.model_validate(read_yaml(loaded.text.decode(), "f").value) == loaded.recipe


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("train.epochs", "--set train.epochs: write it as section.key=value"),
        ("=2", "--set =2: write it as section.key=value"),
        ("train.epoch=2", "--set train.epoch=2: train.epoch: unknown key; did you mean epochs?"),
        ("trian.epochs=2", "--set trian.epochs=2: trian: unknown key; did you mean train?"),
        (
            "train.epochs=x",
            "--set train.epochs=x: train.epochs: needs a number above 0, not 'x'",
        ),
        ("name.x=1", "--set name.x=1: name is 'small' and has no 'x'"),
        ("prompts.3.limit=1", "--set prompts.3.limit=1: prompts is a list and has no 3"),
        (
            "seed=[1",
            "--set seed=[1: not YAML: expected ',' or ']', but got '<stream end>'",
        ),
        (
            "prompts.0.path=no.jsonl",
            "--set prompts.0.path=no.jsonl: prompts[0].path: no file '{folder}/no.jsonl'; "
            "did you mean prompts.jsonl?",
        ),
    ],
)
def test_a_wrong_override_is_a_fault_like_one_in_the_file(
    folder: Path, override: str, fault: str
) -> None:
    assert faults(GOOD, override) == [fault.replace("{folder}", str(folder))]


@pytest.mark.parametrize("name", packaged_recipes())
def test_each_packaged_recipe_loads(name: str) -> None:
    recipe = load_recipe(name).recipe
    assert recipe.name == name
    assert recipe.description


def test_the_openai_compatible_recipe_holds_its_promises() -> None:
    recipe = load_recipe("openai-compatible").recipe
    assert recipe.teacher.kind == "endpoint"
    assert recipe.student.model == "Qwen/Qwen2.5-1.5B-Instruct"
    trained, held = recipe.prompts[0], recipe.evaluate.problems[0]
    assert isinstance(trained, FileSource)
    assert isinstance(held, FileSource)
    assert trained.instruction == held.instruction


def test_the_schema_names_every_section_and_closes_it() -> None:
    schema = recipe_schema()
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert schema["additionalProperties"] is False
    assert all(s["additionalProperties"] is False for s in schema["$defs"].values())
