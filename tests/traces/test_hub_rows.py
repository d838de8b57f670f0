from __future__ import annotations

from pathlib import Path

import pytest

from traces.errors import DataError
from traces.hub_rows import hub_rows, origin
from traces.prompts import prompts_from

ROWS = {"question": ["1+1?", "2+2?", "3+3?"], "answer": ["2", "4", "6"]}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import datasets

    folder = tmp_path_factory.mktemp("hub")
    one = datasets.Dataset.from_dict(ROWS)
    one.save_to_disk(folder / "one")
    datasets.DatasetDict({"train": one, "test": one.select([0])}).save_to_disk(folder / "two")
    (folder / "clone").mkdir()
    one.to_parquet(folder / "clone" / "train-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize("form", ["one", "two", "clone"])
def test_a_folder_is_read_whatever_made_it(form: str, saved: Path) -> None:
    rows = list(hub_rows(str(saved / form)))
    assert [row.value["answer"] for row in rows] == ["2", "4", "6"]
    assert rows[2].place == f"{saved / form}:train:2"


def test_prompts_say_which_row_they_are(saved: Path) -> None:
    name = str(saved / "two")
    prompts = prompts_from(hub_rows(name), name, metadata=origin("two", None, "abc"))
    assert [p.reference.answer for p in prompts if p.reference] == ["2", "4", "6"]
    last = prompts[2].metadata
    assert (last["dataset"], last["revision"], last["split"], last["row"]) == (
        "two", "abc", "train", 2,
    )  # fmt: skip
    assert len({p.metadata["row_hash"] for p in prompts}) == 3


@pytest.mark.parametrize(
    ("form", "split", "message"),
    [("two", "dev", "no such split"), ("clone", "dev", "cannot be loaded")],
)
def test_a_missing_split_is_one_line(form: str, split: str, message: str, saved: Path) -> None:
    with pytest.raises(DataError, match=message):
        list(hub_rows(str(saved / form), split=split))
