"""Row groups: each once, in the wanted order for any number of threads, and nothing of what petastorm may do unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.data.dataset import ShardedData
from spark_nas.data.order import epoch_order
from spark_nas.data.reader import RowGroup, _in_order, read_row_groups
from spark_nas.data.text_descriptor import load_any
from spark_nas.errors import DataError
from tests.data.conftest import GROUP_ROWS, local_filesystem

NOTHING = np.empty(0, np.int64)


def group(position: int) -> RowGroup:
    return RowGroup(position, NOTHING, NOTHING)


def positions(groups: Iterator[RowGroup]) -> list[int]:
    return [item.position for item in groups]


@given(st.integers(0, 30).flatmap(lambda n: st.tuples(st.permutations(range(n)), st.permutations(range(n)))))
def test_whatever_the_order_of_arrival_the_wanted_order_is_given(orders: tuple[list[int], list[int]]) -> None:
    arriving, wanted = orders
    assert wanted == positions(_in_order(map(group, arriving), wanted, "here"))


@given(st.permutations(range(8)), st.integers(0, 7))
def test_a_lost_row_group_is_an_error(arriving: list[int], lost: int) -> None:
    arriving.remove(lost)
    with pytest.raises(DataError, match=rf"^here: read {lost} of 8 row groups \(7 came\): the epoch is incomplete"):
        positions(_in_order(map(group, arriving), range(8), "here"))


@given(st.permutations(range(8)), st.integers(0, 7))
def test_a_doubled_row_group_is_an_error(arriving: list[int], doubled: int) -> None:
    with pytest.raises(DataError, match=rf"^here: row group {doubled} was read twice"):
        positions(_in_order(map(group, [*arriving, doubled]), range(8), "here"))


def test_a_row_group_in_its_turn_is_given_before_the_next_is_read() -> None:
    read: list[int] = []

    def arriving() -> Iterator[RowGroup]:
        for position in range(3):
            read.append(position)
            yield group(position)

    assert 0 == next(_in_order(arriving(), range(3), "here")).position
    assert [0] == read


@pytest.mark.spark
@pytest.mark.parametrize("threads", [1, 3])
def test_files_of_several_row_groups_are_read_in_the_wanted_order(numbered_folder: Path, threads: int) -> None:
    descriptor = load_any(numbered_folder)
    sizes = descriptor.split("train").row_groups
    assert len(sizes) > len(descriptor.split("train").files) * 2
    order = epoch_order(len(sizes), 5, 2, 4)
    filesystem = local_filesystem(numbered_folder)
    stored = list(read_row_groups(filesystem, descriptor, "train", threads=threads))
    assert list(range(len(sizes))) == [item.position for item in stored]
    assert list(sizes) == [len(item.y) for item in stored]
    shuffled = read_row_groups(
        filesystem, descriptor, "train", order=order.row_groups, seed=order.seed, threads=threads
    )
    for item in shuffled:
        assert np.array_equal(stored[item.position].x, item.x)
        assert np.array_equal(stored[item.position].y, item.y)


@pytest.mark.spark
def test_an_order_that_is_not_petastorms_shuffle_is_kept_too(numbered_folder: Path) -> None:
    descriptor = load_any(numbered_folder)
    backwards = range(len(descriptor.split("train").row_groups))[::-1]
    groups = read_row_groups(local_filesystem(numbered_folder), descriptor, "train", order=backwards, threads=2)
    assert list(backwards) == positions(groups)


@pytest.mark.spark
@pytest.mark.parametrize("readers", [1, 3])
@pytest.mark.parametrize("window", [1, 4, 100])
def test_each_epoch_has_every_row_once_and_its_label(numbered_folder: Path, readers: int, window: int) -> None:
    data = ShardedData(str(numbered_folder), cache_megabytes=0, readers=readers, shuffle_window=window).build()
    seen: dict[int, int] = {}
    for split in data.descriptor.splits:
        for x, y in data.batches(split, 33, seed=4, epoch=1):
            seen |= dict(zip((x[:, 0, 0] / 6).astype(int).tolist(), y.tolist(), strict=True))
    assert {i: i % 5 for i in range(1000)} == seen


@pytest.mark.spark
@pytest.mark.parametrize("seed", [None, 4])
def test_cached_and_streamed_epochs_of_several_row_groups_a_file_are_equal(
    numbered_folder: Path, seed: int | None
) -> None:
    def epoch(cache_megabytes: int, readers: int) -> list[bytes]:
        data = ShardedData(str(numbered_folder), cache_megabytes, readers, shuffle_window=3).build()
        return [x.tobytes() + y.tobytes() for x, y in data.batches("train", 50, seed=seed, epoch=7)]

    assert epoch(64, 1) == epoch(0, 1)
    assert epoch(64, 1) == epoch(0, 3)


@pytest.mark.spark
@pytest.mark.parametrize("threads", [1, 3])
def test_shards_that_have_swapped_names_are_read_in_their_true_order(
    numbered_folder: Path, copy_of: Callable[[Path], Path], threads: int
) -> None:
    folder = copy_of(numbered_folder)
    first, second = (folder / "test" / f"part-{number:05d}.parquet" for number in (0, 1))
    expected = [g.y.tolist() for g in read_row_groups(local_filesystem(folder), load_any(folder), "test")]
    first.rename(folder / "other")
    second.rename(first)
    (folder / "other").rename(second)
    # Row groups say by their ids where they belong, so renamed files change nothing.
    groups = list(read_row_groups(local_filesystem(folder), load_any(folder), "test", threads=threads))
    assert expected == [item.y.tolist() for item in groups]


def column(table: pa.Table, name: str, values: list[object]) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values))


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "text": lambda content: b"not parquet\n" * 9,
    "half": lambda content: content[: len(content) // 2],
    "no footer": lambda content: content[:-8],
}
TABLES: dict[str, Callable[[pa.Table], pa.Table]] = {
    "no rows": lambda table: table.slice(0, 0),
    "another schema": lambda table: pa.table({"z": [1, 2, 3]}),
    "a null among x": lambda table: column(table, "x", [None, *table["x"].to_pylist()[1:]]),
    "x of uneven sizes": lambda table: column(table, "x", [b"x" * 23, b"x" * 25, *table["x"].to_pylist()[2:]]),
    "x of text": lambda table: column(table, "x", ["x" * 24] * len(table)),
    "x of lists": lambda table: column(table, "x", [[1.0] * 6] * len(table)),
    "a null among y": lambda table: column(table, "y", [None, *table["y"].to_pylist()[1:]]),
    "y of text": lambda table: column(table, "y", ["1"] * len(table)),
    "a null among id": lambda table: column(table, "id", [None, *table["id"].to_pylist()[1:]]),
}


@pytest.mark.spark
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("damage", [*BYTES, *TABLES])
@pytest.mark.parametrize("file", [0, 1])
def test_a_damaged_file_is_an_error_in_one_line(
    numbered_folder: Path,
    copy_of: Callable[[Path], Path],
    capfd: pytest.CaptureFixture[str],
    threads: int,
    damage: str,
    file: int,
) -> None:
    folder = copy_of(numbered_folder)
    victim = folder / "train" / f"part-{file:05d}.parquet"
    if damage in BYTES:
        victim.write_bytes(BYTES[damage](victim.read_bytes()))
    else:
        pq.write_table(TABLES[damage](pq.read_table(victim)), victim, row_group_size=GROUP_ROWS)
    with pytest.raises(DataError, match=r"train") as caught:
        list(read_row_groups(local_filesystem(folder), load_any(folder), "train", threads=threads))
    assert 1 == len(str(caught.value).splitlines())
    assert damage not in BYTES or f"train/{victim.name}: unreadable shard" in str(caught.value)
    assert damage != "another schema" or f"train/{victim.name}: " in str(caught.value)
    assert "" == capfd.readouterr().err
