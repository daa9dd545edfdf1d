"""A prepared text as it is read: whole, in order, kept between epochs while it fits; what is wrong with it is said."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spark_nas.data import shards as shards_module
from spark_nas.data import text as module
from spark_nas.data.cache import DECODED
from spark_nas.data.dataset import ShardedData
from spark_nas.data.prepare_text import prepare_text
from spark_nas.data.sources import Text
from spark_nas.data.text import TextDataset
from spark_nas.errors import DataError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = pytest.mark.spark
TRAIN = "train/part-00001.parquet"


@pytest.fixture(scope="module")
def text_folder(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The numbers 0 to 1999, a word each on a line of its own, in 3 shards of several row groups. Not to be changed."""
    at = tmp_path_factory.mktemp("text")
    (at / "numbers.txt").write_text("".join(f"{number}\n" for number in range(2000)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards_module, "ROW_GROUP_BYTES", 3000)
        patch.setattr("spark_nas.data.prepare_text.CHUNK", 64)
        prepare_text(spark, Text((str(at / "numbers.txt"),)), at / "d", shards=3)
    return at / "d"


def opened(path: Path, **options: int) -> TextDataset:
    data = ShardedData(str(path), **options).build()
    assert isinstance(data, TextDataset)
    return data


@pytest.mark.parametrize(("cache", "readers"), [(0, 1), (64, 1), (0, 4)])
def test_a_split_is_one_stream_in_order(text_folder: Path, cache: int, readers: int) -> None:
    data = opened(text_folder, cache_megabytes=cache, readers=readers)
    assert len(data.descriptor.split("train").row_groups) > 3
    tokens = data.tokens("train")
    assert (np.dtype(np.int32), (2800,)) == (tokens.dtype, tokens.shape)
    assert 2800 == data.rows("train")
    # <eos> is the most frequent, so 1, and the lines' numbers follow as they come.
    assert [[2 + line, 1] for line in range(1400)] == tokens.reshape(-1, 2).tolist()
    assert {0, 1} == set(data.tokens("test").tolist())
    assert not tokens.flags.writeable


def test_a_text_says_what_its_descriptor_says(text_folder: Path) -> None:
    data = pickle.loads(pickle.dumps(opened(text_folder)))
    assert ((), 1402, 400, 800) == (data.input_shape, data.classes, data.rows("valid"), data.rows("test"))
    assert (str(text_folder), data.descriptor.fingerprint) == (data.path, data.fingerprint)
    assert ("<unk>", "<eos>", "0", "1") == data.vocabulary()[:4]


def test_a_kept_text_is_read_once_and_one_without_room_each_time(
    text_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(text_folder)
    small = TextDataset(data.folder, data.descriptor, 44 * 64 * 4 + 1000, 1)  # room for train, not for valid too
    for split in ("train", "valid", "train"):
        assert np.array_equal(data.tokens(split), small.tokens(split))
    DECODED.clear()
    expected = small.tokens("train")
    small.tokens("valid")
    assert expected.nbytes == DECODED.bytes
    monkeypatch.setattr(module, "read_row_groups", None)
    assert expected is not small.tokens("train")
    assert np.array_equal(expected, small.tokens("train"))
    with pytest.raises(TypeError):  # there is nothing left to read it by
        small.tokens("valid")


@pytest.mark.parametrize("ask", [TextDataset.rows, TextDataset.tokens])
def test_an_unknown_split_of_a_text_names_those_there_are(
    text_folder: Path, ask: Callable[[TextDataset, str], object]
) -> None:
    with pytest.raises(DataError, match="'dev' is not in data set 'numbers': it has train, valid, test"):
        ask(opened(text_folder), "dev")


@pytest.mark.parametrize(
    ("name", "said"),
    [(TRAIN, "shard is missing"), ("descriptor.vocabulary.json", "missing, so the data set is not complete")],
)
def test_a_missing_file_is_found_when_it_is_built(
    text_folder: Path, copy_of: Callable[[Path], Path], name: str, said: str
) -> None:
    path = copy_of(text_folder)
    (path / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: {said}"):
        opened(path)


def with_x(table: pa.Table, token: int) -> pa.Table:
    """The first token of each row replaced."""
    first = np.array([token], "<i4").tobytes()
    x = pa.array([first + chunk[4:] for chunk in table["x"].to_pylist()], table["x"].type)
    return table.set_column(0, "x", x)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.set_column(1, "y", pa.array(np.full(t.num_rows, 63))), "holds other numbers of tokens than"),
        (lambda t: t.set_column(1, "y", pa.array(np.full(t.num_rows, 65))), "labels outside 0..64"),
        (lambda t: with_x(t, 1402), "has tokens outside 0..1401"),
        (lambda t: with_x(t, -1), "has tokens outside 0..1401"),
        (lambda t: t.slice(8), r"read \d of \d row groups .* the epoch is incomplete"),
        (lambda t: t.slice(1), "is not one that the descriptor names"),
    ],
)
def test_a_text_that_is_not_what_its_descriptor_says_is_an_error(
    text_folder: Path, copy_of: Callable[[Path], Path], change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    path = copy_of(text_folder)
    data = opened(path)
    assert (8, 7) == data.descriptor.split("train").files[1].row_groups
    pq.write_table(change(pq.read_table(path / TRAIN)), path / TRAIN, row_group_size=8)
    with pytest.raises(DataError, match=said) as caught:
        data.tokens("train")
    assert 1 == len(str(caught.value).splitlines())
