"""Rows of a Hugging Face dataset: of the hub at a pinned revision, or of a local folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from traces.errors import DataError, MissingDependencyError
from traces.jsonio import Row
from traces.keys import content_hash

PLAIN = (str, int, float, bool, type(None))


def hub_rows(
    dataset: str, *, config: str | None = None, split: str = "train", revision: str = ""
) -> Iterator[Row]:
    """The rows of one split, one at a time; `place` is `dataset@revision:split:row`, from 0.

    Args:
        dataset: A folder that `save_to_disk` or a clone of a dataset made, or a hub id.
        config: Which configuration, where there are several.
        split: As `datasets` names it, slices such as `train[:100]` too.
        revision: A commit of the hub; ignored for a folder.

    Columns that hold something other than plain data, such as images, are left out.

    Raises:
        MissingDependencyError: `datasets` is not installed.
        DataError: there is no such dataset, configuration, split or revision, or it cannot be read.
    """
    rows = _load(dataset, config, split, revision)
    name = dataset_name(dataset, revision)
    for number, row in enumerate(rows):
        yield Row(f"{name}:{split}:{number}", _plain(row))


def dataset_name(dataset: str, revision: str) -> str:
    """How records call the dataset: `owner/name@revision`, or the folder."""
    return f"{dataset}@{revision}" if revision else dataset


def origin(dataset: str, config: str | None, revision: str) -> Callable[[Row], dict[str, Any]]:
    """A function that says of a row which one it is, with a hash of its content."""

    def of_row(row: Row) -> dict[str, Any]:
        _, split, number = row.place.rsplit(":", 2)
        found = {"dataset": dataset, "revision": revision, "config": config or "", "split": split}
        return {**found, "row": int(number), "row_hash": content_hash(row.value)}

    return of_row


def _load(dataset: str, config: str | None, split: str, revision: str) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingDependencyError(
            f"the dataset {dataset!r} needs the package datasets", "pip install datasets"
        ) from error
    folder = Path(dataset).expanduser()
    what = f"{dataset_name(dataset, revision)}, split {split!r}"
    # datasets and what is below it raise whatever they please for a wrong name, split or network.
    try:
        if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
            return _split_of(datasets.load_from_disk(str(folder)), split, what)
        where = str(folder) if folder.exists() else dataset
        return datasets.load_dataset(where, config, split=split, revision=revision or None)
    except DataError:
        raise
    except Exception as error:
        first = str(error).strip().partition("\n")[0][:300] or type(error).__name__
        raise DataError(
            f"{what}: cannot be loaded: {first}",
            "check the name, the configuration, the split and the revision; without a network, "
            "download it elsewhere and give its folder",
        ) from error


def _split_of(loaded: Any, split: str, what: str) -> Any:
    if not isinstance(loaded, dict):
        return loaded
    if split not in loaded:
        raise DataError(f"{what}: no such split", f"there are: {', '.join(loaded)}")
    return loaded[split]


def _plain(value: Any) -> Any:
    """`value` without the members of objects that are not plain data."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items() if isinstance(v, (*PLAIN, dict, list))}
    if isinstance(value, list):
        return [_plain(item) for item in value if isinstance(item, (*PLAIN, dict, list))]
    return value
