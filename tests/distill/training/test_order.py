from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs trl")

from datasets import Dataset

from distill.dataset import read_rows
from distill.training.order import Order, arranged
from distill.training.teacher import ROW
from distill.training.train import arguments, load_rows, load_student, quieten
from distill.training.trainer import LossOptions, TraceTrainer
from tests.distill.training.tiny_rows import train_options, write_random_rows
from traces.models.load import load_tokenizer

RATES = {"key 3": 1.0, "key 5": 0.75, "key 0": 0.0}


def seen(model: Path, folder: Path, order: Order, seed: int) -> list[list[int]]:
    """The rows, without padding, in the order in which training meets them in both its epochs.

    Of `random` the second epoch is another order, of all others the same.
    """
    quieten()
    options = train_options(order=order, seed=seed)
    rows = load_rows(folder / "rows.arrow", order=order, pass_rates=RATES)["train"]
    trainer = TraceTrainer(
        model=load_student(str(model), "", options),
        args=arguments(folder / "checkpoints", options, validated=False),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(str(model)),
        loss=LossOptions(1.0, "reference"),
    )
    loader = trainer.get_train_dataloader()
    epochs = [
        [
            ids[mask.bool()].tolist()
            for batch in loader
            for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True)
        ]
        for _ in range(2)
    ]
    assert (epochs[0] != epochs[1]) is (order == "random")
    return epochs[0]


@pytest.mark.parametrize("seed", [0, 1])
def test_training_meets_its_rows_in_the_order_asked_for(
    tiny_model: Path, tmp_path: Path, seed: int
) -> None:
    path = write_random_rows(tmp_path / "rows.arrow", 12)
    stored = [(row.key, row.input_ids) for row, _ in read_rows(path)]
    assert seen(tiny_model, tmp_path, "as_is", seed) == [ids for _, ids in stored]
    short = seen(tiny_model, tmp_path, "short_first", seed)
    assert [len(ids) for ids in short] == sorted(len(ids) for _, ids in stored)
    keys = {tuple(ids): key for key, ids in stored}
    easy = [keys[tuple(ids)] for ids in seen(tiny_model, tmp_path, "easy_first", seed)]
    assert (easy[:2], easy[-1]) == (["key 3", "key 5"], "key 0")
    drawn = seen(tiny_model, tmp_path, "random", seed)
    assert drawn != [ids for _, ids in stored]
    assert sorted(drawn) == sorted(ids for _, ids in stored)


@pytest.mark.parametrize("order", ["random", "as_is"])
def test_an_order_that_does_not_sort_holds_no_rows(order: Order) -> None:
    rows = iter([])
    assert arranged(rows, order, {}) is rows


def test_rows_keep_the_number_of_their_teacher_in_any_order(tmp_path: Path) -> None:
    path = write_random_rows(tmp_path / "rows.arrow", 12)
    stored = [row.input_ids for row, _ in read_rows(path)]
    for item in load_rows(path, taught=True, order="short_first")["train"]:
        assert stored[item[ROW]] == item["input_ids"]
