"""The wheel that comes out of the sdist, in an environment that knows nothing of this tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("cli", "cuda", "distill", "recipes", "traces")
FILES = ("pyproject.toml", "README.md", "LICENSE")
SHIPPED = {".yaml", ".jsonl", ".json", ".cu", ".cuh", ".py", ".j2", ".css", ".safetensors"}

pytestmark = pytest.mark.slow


def run(*command: object, cwd: Path) -> str:
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def sources(folder: str) -> list[Path]:
    paths = sorted((ROOT / folder).rglob("*"))
    return [p for p in paths if p.suffix in SHIPPED and "__pycache__" not in p.parts]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build", reason="needs build")
    tree = tmp_path_factory.mktemp("tree")
    for name in FOLDERS:
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / name, tree / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    out = tree / "dist"
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, tree, cwd=tree)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and this environment's dependencies."""
    home = tmp_path_factory.mktemp("env")
    venv.create(home, symlinks=True)
    found = home / "bin/python"
    pip = (sys.executable, "-m", "pip", "--python", found)
    run(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=home)
    (packages,) = home.glob("lib/python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "borrowed.pth").write_text("\n".join(borrowed))
    return found


def test_it_installs_two_top_level_names(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"distill", "traces"}


def test_it_holds_every_source_recipe_and_kernel(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {p.relative_to(ROOT).as_posix() for f in ("distill", "traces") for p in sources(f)}
    expected |= {
        f"distill/{p.relative_to(ROOT).as_posix()}"
        for folder in ("cli", "cuda", "recipes")
        for p in sources(folder)
    }
    assert expected - names == set()


def test_the_command_works_from_another_directory(python: Path, tmp_path: Path) -> None:
    command = python.with_name("distill")
    listed = run(command, "recipes", "list", cwd=tmp_path)
    assert "openai-compatible" in listed
    assert run(command, "init", "mine", cwd=tmp_path).startswith("wrote mine/recipe.yaml")
    assert (tmp_path / "mine/prompts.jsonl").exists()


def test_assets_are_found_inside_the_package(python: Path, tmp_path: Path) -> None:
    script = (
        "import distill; from pathlib import Path; from distill.assets import asset\n"
        "home = Path(distill.__file__).parent\n"
        "print(all(asset(n).parent == home for n in ('recipes', 'cuda')), home)"
    )
    found, home = run(python, "-c", script, cwd=tmp_path).split()
    assert Path(home).is_relative_to(python.parent.parent)
    assert found == "True"
