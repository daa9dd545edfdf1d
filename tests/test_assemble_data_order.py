"""A run is continued on the same examples in the same order, or not at all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from spark_nas.assemble import assemble, parse_experiment
from spark_nas.data.dataset import ShardedDataset
from spark_nas.data.descriptor import Descriptor, ShardFile, Split
from spark_nas.data.folder import open_folder
from spark_nas.data.text import TextDataset
from spark_nas.data.text_descriptor import TextDescriptor
from spark_nas.errors import OutputError
from spark_nas.search.protocols import Dataset
from spark_nas.storage.files import Files, LocalFiles
from spark_nas.storage.record import begin

EXPERIMENT = {"space": "mlp", "scheduler": {"name": "hyperband", "max_resource": 9}, "evaluator": "synthetic"}


def examples(tmp_path: Path, groups: tuple[int, ...], window: int) -> ShardedDataset:
    """Sixty rows a split, in row groups of so many; nobody reads them."""
    splits = {split: Split(60, (ShardFile(f"{split}/a.parquet", 60, groups, 1),)) for split in ("train", "valid")}
    descriptor = Descriptor(
        "sixty", (3,), "float32", ("a", "b"), splits, (0.0,) * 3, (1.0,) * 3, 1, "", "", "sha256:0", ""
    )
    return ShardedDataset(open_folder(tmp_path), descriptor, 0, 1, window)


def of_text(tmp_path: Path, chunk: int) -> TextDataset:
    """Sixty tokens in rows of so many; nobody reads them."""
    splits = {"train": Split(60 // chunk, (ShardFile("train/a.parquet", 60 // chunk, (60 // chunk,), 1),))}
    counts = {"train": 60}, {"train": 0}
    descriptor = TextDescriptor("sixty", "word", 9, "", chunk, *counts, splits, "", "", "sha256:0", "")
    return TextDataset(open_folder(tmp_path), descriptor, 0, 1)


def begun(files: Files, dataset: Dataset) -> None:
    """Begin or continue a run in `files` on that data set."""
    identity = dataclasses.replace(assemble(parse_experiment(EXPERIMENT)), dataset=dataset).identity()
    record = {"run_id": "run", "experiment": {}, "file": "", "identity": identity, "max_resource": 9, "environment": {}}
    begin(files, record)


@pytest.mark.parametrize(
    ("groups", "window", "said"),
    [
        ((10,) * 6, 4, "data_order.shuffle_window was 'all row groups' and is now 4; choose another --run-id"),
        ((20,) * 3, 16, "data_order.row_groups.train was '6 of 10 to 10 rows ("),
        ((5, 15, *(10,) * 4), 16, "data_order.row_groups.train was '6 of 10 to 10 rows ("),
    ],
)
def test_a_run_is_not_continued_with_its_examples_in_another_order(
    tmp_path: Path, groups: tuple[int, ...], window: int, said: str
):
    files = LocalFiles(tmp_path / "run")
    begun(files, examples(tmp_path, (10,) * 6, 16))
    begun(files, examples(tmp_path, (10,) * 6, 6))  # one window of all rows, as before
    with pytest.raises(OutputError) as caught:
        begun(files, examples(tmp_path, groups, window))
    assert said in str(caught.value)


def test_a_text_is_one_stream_however_its_shards_are_cut(tmp_path: Path):
    files = LocalFiles(tmp_path / "run")
    begun(files, of_text(tmp_path, 10))
    begun(files, of_text(tmp_path, 5))
