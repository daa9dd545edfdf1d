"""Row groups of one split, decoded to numpy by petastorm: the only file of the project that uses petastorm.

Plain Parquet is read with `make_batch_reader` on a thread pool. Each row group says by its `id` column where it
belongs, so it is checked against the descriptor and put into the wanted order here, whatever the number of threads and
whatever petastorm does: a lost, doubled, foreign or reordered row group cannot go unseen.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.fs  # type: ignore[import-untyped]
from numpy.typing import NDArray

from spark_nas.data.descriptor import Layout
from spark_nas.data.petastorm_compat import install
from spark_nas.data.petastorm_pool import Tables
from spark_nas.errors import DataError

_EXTRA = 2
"""petastorm works on at most threads + 2 row groups at a time; each puts two messages into the queue of results."""


class _Columns(NamedTuple):
    """A row group as it was read: nothing is checked yet."""

    x: pa.Array
    y: NDArray[Any]
    id: NDArray[Any]


class RowGroup(NamedTuple):
    """One decoded row group; the arrays may be read-only."""

    position: int
    """Position among the row groups of the split, in stored order."""
    x: NDArray[np.generic]
    """[rows, *row_shape]."""
    y: NDArray[np.int64]
    """[rows]."""


def read_row_groups(
    filesystem: pyarrow.fs.FileSystem,
    descriptor: Layout,
    split: str,
    *,
    order: Sequence[int] | None = None,
    seed: int | None = None,
    threads: int = 1,
) -> Iterator[RowGroup]:
    """Every row group of a split once, in `order` (of their stored positions; None: the stored order).

    Args:
        filesystem: its root is the data set's folder.
        descriptor: what the shards must hold.
        split: a split of the descriptor.
        order: a permutation of the row groups' positions.
        seed: given to petastorm when `order` is its own shuffle by that seed (`epoch_order`); only then does it read
            the row groups in that order, and at most `threads` + 2 of them wait here for their turn.
        threads: reader threads.

    Raises:
        DataError: a shard is unreadable, or holds other rows than the descriptor says.
    """
    expected = descriptor.split(split).row_groups
    starts = {int(start): index for index, start in enumerate(np.cumsum((0, *expected[:-1])))}
    where = f"split {split!r} of {descriptor.name!r}"
    # Closed here: an error keeps its frames alive, and the garbage collector may then close them in a reader thread.
    with closing(_batches(filesystem, descriptor, split, seed, threads)) as batches:
        groups = (_decode(batch, descriptor, split, starts) for batch in batches)
        yield from _in_order(groups, range(len(expected)) if order is None else order, where)


def _in_order(groups: Iterator[RowGroup], order: Sequence[int], where: str) -> Iterator[RowGroup]:
    """Each row group of `order` exactly once. Raises DataError for one that comes twice, or not at all."""
    waiting: dict[int, RowGroup] = {}
    seen: set[int] = set()
    done = 0
    for group in groups:
        if group.position in seen:
            raise DataError(f"{where}: row group {group.position} was read twice; prepare the data again")
        seen.add(group.position)
        waiting[group.position] = group
        while done < len(order) and order[done] in waiting:
            yield waiting.pop(order[done])
            done += 1
    if done != len(order):
        raise DataError(
            f"{where}: read {done} of {len(order)} row groups ({len(seen)} came): the epoch is incomplete; "
            "prepare the data again"
        )


def _batches(
    filesystem: pyarrow.fs.FileSystem, descriptor: Layout, split: str, seed: int | None, threads: int
) -> Generator[_Columns, None, None]:
    install()
    # After install(), never before.
    from petastorm import make_batch_reader  # type: ignore[import-untyped]
    from petastorm.workers_pool import EmptyResultError  # type: ignore[import-untyped]

    in_flight = threads + _EXTRA
    reader = make_batch_reader(
        # The paths are our own checked names below the filesystem's root: nothing in them needs quoting.
        [f"file:///{file.name}" for file in descriptor.split(split).files],
        filesystem=filesystem,
        reader_pool_type="thread",
        workers_count=threads,
        # Room for everything in flight: no worker ever blocks on a full queue, also not when it reports an error.
        results_queue_size=2 * in_flight + threads,
        shuffle_row_groups=seed is not None,
        seed=seed,
        num_epochs=1,
    )
    try:
        missing = {"x", "y", "id"} - set(reader.schema.fields)  # petastorm takes the first file's for all
        if missing:
            raise DataError(
                f"{descriptor.split(split).files[0].name}: column {', '.join(sorted(missing))} is missing or has a "
                "wrong type; prepare the data again"
            )
        reader._results_queue_reader = Tables(EmptyResultError)
        for table in reader:
            x, y, ids = (table.column(name).combine_chunks() for name in ("x", "y", "id"))
            yield _Columns(x, y.to_numpy(zero_copy_only=False), ids.to_numpy(zero_copy_only=False))
    finally:
        reader.stop()
        with suppress(RuntimeError):  # an abandoned epoch, collected by one of its own threads: it cannot join itself
            reader.join()


def _decode(columns: _Columns, descriptor: Layout, split: str, starts: dict[int, int]) -> RowGroup:
    """Check one row group against the descriptor and see its bytes as arrays; nothing is copied."""
    where = f"split {split!r} of {descriptor.name!r}"
    ids, y = columns.id, columns.y
    index = starts.get(int(ids[0]), -1) if ids.dtype == np.int64 and len(ids) else -1
    expected = descriptor.split(split).row_groups
    if index < 0 or len(ids) != expected[index] or not np.array_equal(ids, np.arange(ids[0], ids[0] + len(ids))):
        raise DataError(
            f"{where}: a row group of {len(ids)} rows is not one that the descriptor names; prepare the data again"
        )
    if y.dtype != np.int64 or y.min() < 0 or y.max() >= descriptor.labels:
        raise DataError(f"{where}: row group {index} has labels outside 0..{descriptor.labels - 1}")
    content = _content(columns.x, descriptor.example_bytes, f"{where}: row group {index}")
    x = np.frombuffer(content, dtype=np.dtype(descriptor.dtype).newbyteorder("<"))
    return RowGroup(index, x.reshape(len(ids), *descriptor.row_shape), y)


def _content(x: pa.Array, width: int, where: str) -> pa.Buffer:
    """The bytes of all rows, one after another. Raises DataError when x is not bytes, `width` of them in each row."""
    if x.null_count or not (pa.types.is_fixed_size_binary(x.type) or pa.types.is_binary(x.type)):
        raise DataError(f"{where} holds an x that is not bytes")
    if x.type != pa.binary(width):
        sizes = {x.type.byte_width} if pa.types.is_fixed_size_binary(x.type) else set(pc.binary_length(x).to_pylist())
        if sizes != {width}:
            raise DataError(f"{where} has {sizes} bytes of x in a row, not {width}")
        x = x.cast(pa.binary(width))
    return x.buffers()[1].slice(x.offset * width, len(x) * width)
