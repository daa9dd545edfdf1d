"""What `prepare` writes: complete, readable by everybody, the same whatever the number of shards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from spark_nas.data.folder import open_folder
from spark_nas.data.prepare import moments, prepare
from spark_nas.data.shards import ROW_GROUP_BYTES, plan_shards
from spark_nas.data.sources import Arrays, Digits
from spark_nas.data.text_descriptor import load_any
from spark_nas.errors import DataError, OutputError

from .conftest import InMemory, make_raw

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark


def test_every_row_of_the_digits_is_in_exactly_one_split(digits_folder: Path):
    source = Digits().read().splits["train"]
    stored = pd.concat(pd.read_parquet(digits_folder / split) for split in ("train", "valid", "test"))
    expected = sorted((x.tobytes(), int(y)) for x, y in zip(source.x, source.y, strict=True))
    assert sorted(zip(stored.x, stored.y, strict=True)) == expected


def test_spark_reads_the_shards_as_they_stand(spark: SparkSession, digits_folder: Path):
    descriptor = load_any(digits_folder)
    for split in descriptor.splits:
        frame = spark.read.parquet(str(digits_folder / split))
        assert dict(frame.dtypes) == {"x": "binary", "y": "bigint", "id": "bigint"}
        assert frame.count() == descriptor.splits[split].rows
        assert sorted(row.id for row in frame.select("id").collect()) == list(range(descriptor.splits[split].rows))


def test_the_descriptor_says_what_the_footers_say(digits_folder: Path):
    for split in load_any(digits_folder).splits.values():
        for file in split.files:
            footer = pq.read_metadata(digits_folder / file.name)
            groups = tuple(footer.row_group(i).num_rows for i in range(footer.num_row_groups))
            assert (footer.num_rows, groups) == (file.rows, file.row_groups)
            assert (digits_folder / file.name).stat().st_size == file.bytes


def test_nothing_but_shards_and_descriptor_is_left(digits_folder: Path):
    assert sorted(path.name for path in digits_folder.iterdir()) == ["descriptor.json", "test", "train", "valid"]
    assert (
        len(list(digits_folder.rglob("*.parquet")))
        == len([p for p in digits_folder.rglob("*") if p.is_file()]) - 1
        == 12
    )


@pytest.mark.one_spark
def test_content_and_fingerprint_do_not_depend_on_the_number_of_shards(
    spark: SparkSession, digits_folder: Path, tmp_path: Path
):
    other = prepare(spark, Digits(), tmp_path / "two", shards=2)
    assert other.fingerprint == load_any(digits_folder).fingerprint
    for split in other.splits:
        ours, theirs = (
            pd.read_parquet(place / split).sort_values("id", ignore_index=True)
            for place in (tmp_path / "two", digits_folder)
        )
        assert ours.equals(theirs)


@pytest.mark.one_spark
def test_another_seed_is_another_fingerprint(spark: SparkSession, digits_folder: Path, tmp_path: Path):
    assert prepare(spark, Digits(), tmp_path / "d", shards=1, seed=2).fingerprint != load_any(digits_folder).fingerprint


@pytest.mark.one_spark
def test_a_data_set_is_replaced_only_when_told_to(spark: SparkSession, tmp_path: Path):
    source = InMemory(make_raw(60))
    prepare(spark, source, tmp_path / "d", shards=3)
    with pytest.raises(OutputError, match="holds a data set already"):
        prepare(spark, source, tmp_path / "d", shards=1)
    prepare(spark, source, tmp_path / "d", shards=1, overwrite=True)
    assert len(list((tmp_path / "d/train").iterdir())) == 1


@pytest.mark.one_spark
def test_an_interrupted_run_is_run_again(spark: SparkSession, digits_folder: Path, tmp_path: Path):
    shutil.copytree(digits_folder, tmp_path / "d")
    (tmp_path / "d/descriptor.json").unlink()
    (tmp_path / "d/.staging").mkdir()
    (tmp_path / "d/train/.part-00000.0f.tmp").write_bytes(b"half")
    again = prepare(spark, Digits(), tmp_path / "d", shards=2)
    assert again == load_any(tmp_path / "d")
    assert len(list((tmp_path / "d/train").iterdir())) == 2


def test_a_failed_task_leaves_no_descriptor(spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spark_nas.data.prepare.stage", lambda plan, x, y: None)
    with pytest.raises(Exception, match="No such file"):
        prepare(spark, InMemory(make_raw(60)), tmp_path / "d", shards=1)
    assert not (tmp_path / "d/descriptor.json").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_files_are_never_removed(tmp_path: Path, overwrite: bool):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(OutputError, match=r"holds thesis\.tex"):
        prepare(None, Digits(), tmp_path, overwrite=overwrite)
    (tmp_path / "d/train").mkdir(parents=True)
    (tmp_path / "d/train/cat.png").write_text("a cat")
    with pytest.raises(OutputError, match="holds train"):
        prepare(None, Digits(), tmp_path / "d", overwrite=overwrite)


def test_an_output_that_is_a_file_is_refused(tmp_path: Path):
    (tmp_path / "f").write_text("")
    with pytest.raises(OutputError, match="is a file"):
        prepare(None, Digits(), tmp_path / "f")
    with pytest.raises(OutputError, match="cannot be written"):
        prepare(None, Digits(), tmp_path / "f" / "below")


def test_too_few_rows_for_the_shards_is_an_error_before_any_work(tmp_path: Path):
    with pytest.raises(DataError, match="split 'valid' has 6 rows for 7 shards"):
        prepare(None, InMemory(make_raw(60)), tmp_path / "d", shards=7)
    with pytest.raises(DataError, match="shards: 0"):
        prepare(None, Digits(), tmp_path / "d", shards=0)


def test_row_groups_are_bounded_and_every_shard_has_one(tmp_path: Path):
    plans = plan_shards(open_folder(tmp_path), "train", 45_001, 3, 3072)
    assert [plan.stop - plan.start for plan in plans] == [15_000, 15_000, 15_001]
    assert all(plan.row_group_rows * 3072 <= ROW_GROUP_BYTES for plan in plans)
    assert plan_shards(open_folder(tmp_path), "train", 3, 3, 2**30)[2].row_group_rows == 1


def test_moments_are_those_of_the_chosen_rows_with_one_for_a_constant_channel():
    x = np.random.default_rng(0).normal(3, 2, (9000, 3, 4)).astype(np.float32)
    x[:, 2] = 5
    rows = np.random.default_rng(1).permutation(9000)[:8500]
    mean, std = moments(Arrays(x, np.zeros(9000, np.int64)), rows)
    chosen = x[rows].astype(np.float64)
    assert mean == pytest.approx(chosen.mean(axis=(0, 2)))
    assert std == pytest.approx([*chosen[:, :2].std(axis=(0, 2)), 1.0])
