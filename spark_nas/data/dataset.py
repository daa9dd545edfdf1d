"""`ShardedData`, the options of a prepared data set, and `ShardedDataset`, the batches of examples that training sees.

Each epoch is either copied out of the decoded split that the process keeps in memory, or, when that is larger than
`cache_megabytes`, streamed from the shards with bounded memory. Both give the same batches bit for bit. A data set that
is a text is a `text.TextDataset`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spark_nas.data.cache import DECODED, CacheKey, DecodedSplit, is_kept
from spark_nas.data.cutting import Batch, Part, cut, shuffled_windows
from spark_nas.data.descriptor import Descriptor, check_files
from spark_nas.data.folder import DataFolder, check_uri, open_folder
from spark_nas.data.order import EpochOrder, described, epoch_order, stored_positions
from spark_nas.data.reader import RowGroup, read_row_groups
from spark_nas.data.text import TextDataset
from spark_nas.data.text_descriptor import TextDescriptor, load_any
from spark_nas.errors import DataError, OptionError
from spark_nas.object_store import StorageOptions

_LABEL_BYTES = 8


@dataclass(frozen=True)
class ShardedData:
    """A data set that `prepare-data` has written."""

    path: str
    """Its folder: the one with `descriptor.json`. A path that is the same on the driver and on every executor, or a
    prefix on an object store: s3://BUCKET/PREFIX, s3a://, gs:// or abfss://."""
    cache_megabytes: int = 1024
    """Decoded data kept in each Python worker between jobs, in MiB; splits that do not fit are streamed. 0: always.
    A text is not streamed: a split that does not fit here is read anew for each epoch."""
    readers: int = 1
    """Reader threads of a stream. They change the speed, never the order."""
    shuffle_window: int = 16
    """Row groups (at most 4 MiB each) whose rows are shuffled together; bounds the memory of a stream. Like the
    number of shards, it decides the order of the examples, cached or streamed: a run is continued with the same two."""
    storage: StorageOptions | None = None
    """How the data's object store is reached where it is not the run's own: a public bucket, read anonymously, or one
    in another region. None: by the experiment's section `storage`."""

    def __post_init__(self) -> None:
        if not self.path:
            raise OptionError("path", self.path, "give the --output of `spark-nas prepare-data`")
        if "://" in self.path:
            check_uri(self.path)
        for key, least in (("cache_megabytes", 0), ("readers", 1), ("shuffle_window", 1)):
            if getattr(self, key) < least:
                raise OptionError(key, getattr(self, key), f"must be at least {least}")

    def build(self, storage: StorageOptions | None = None) -> ShardedDataset | TextDataset:
        """Read the descriptor and check that every shard is there. Raises DataError, in milliseconds, when not.

        Args:
            storage: how an object store is reached, unless `self.storage` says it; None takes what the environment
                says. A local path needs none.
        """
        folder = open_folder(self.path, self.storage.resolved() if self.storage is not None else storage)
        descriptor = load_any(folder)
        check_files(folder, descriptor)
        if isinstance(descriptor, TextDescriptor):
            text = TextDataset(folder, descriptor, self.cache_megabytes << 20, self.readers)
            text.vocabulary()  # there, and what the descriptor says
            return text
        return ShardedDataset(folder, descriptor, self.cache_megabytes << 20, self.readers, self.shuffle_window)


@dataclass(frozen=True)
class ShardedDataset:
    """A `search.protocols.Dataset` over Parquet shards. Picklable; opens its shards where it is used."""

    folder: DataFolder
    descriptor: Descriptor
    cache_bytes: int
    readers: int
    shuffle_window: int

    @property
    def path(self) -> str:
        """Where the shards are."""
        return self.folder.location

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one example, channels first."""
        return self.descriptor.input_shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.descriptor.classes)

    @property
    def mean(self) -> tuple[float, ...]:
        """Per channel, of the training split, in stored units."""
        return self.descriptor.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Per channel, of the training split, in stored units; 1.0 for a constant channel."""
        return self.descriptor.std

    @property
    def fingerprint(self) -> str:
        """Identifies the content, whatever its sharding."""
        return self.descriptor.fingerprint

    @property
    def ordered_by(self) -> dict[str, object]:
        """What decides the order of an epoch beside (seed, epoch), and so a run's batches: see `order.described`."""
        groups = {name: split.row_groups for name, split in self.descriptor.splits.items()}
        return described(groups, self.shuffle_window)

    def rows(self, split: str) -> int:
        """Number of examples of a split. Raises DataError for an unknown split, naming those there are."""
        return self.descriptor.split(split).rows

    def batches(self, split: str, batch_size: int, *, seed: int | None = None, epoch: int = 0) -> Iterator[Batch]:
        """One epoch: x [B, *input_shape] and y [B], fresh, writable and contiguous; the last batch may be short.

        With a seed the order is a function of (seed, epoch) and `ordered_by`; without, the stored order (shuffled once,
        when prepared).
        Raises DataError when a shard is unreadable or the shards hold other rows than the descriptor says.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        groups = len(self.descriptor.split(split).row_groups)
        order = None if seed is None else epoch_order(groups, seed, epoch, self.shuffle_window)
        if self.is_cached(split):
            return _cached_batches(self._decoded(split), self.descriptor.split(split).row_groups, batch_size, order)
        return self._streamed_batches(split, batch_size, order)

    def is_cached(self, split: str) -> bool:
        """Whether the split is kept in memory: they get their places in the descriptor's order, while there is room."""
        return is_kept(split, {name: self._decoded_bytes(name) for name in self.descriptor.splits}, self.cache_bytes)

    def _decoded_bytes(self, split: str) -> int:
        return self.rows(split) * (self.descriptor.example_bytes + _LABEL_BYTES)

    def _decoded(self, split: str) -> DecodedSplit:
        key = CacheKey(self.path, self.descriptor.fingerprint, split)
        return DECODED.get(key, lambda: self._decode(split), self.cache_bytes)

    def _decode(self, split: str) -> DecodedSplit:
        rows = self.rows(split)
        DECODED.make_room(self._decoded_bytes(split), self.cache_bytes)
        x = np.empty((rows, *self.input_shape), dtype=self.descriptor.dtype)
        y = np.empty(rows, dtype=np.int64)
        start = 0
        for group in self._row_groups(split):
            stop = start + len(group.y)
            x[start:stop], y[start:stop] = group.x, group.y
            start = stop
        x.flags.writeable = y.flags.writeable = False
        return DecodedSplit(x, y)

    def _streamed_batches(self, split: str, batch_size: int, order: EpochOrder | None) -> Iterator[Batch]:
        """Batches straight from the shards: holds one window, and the few row groups that are being read."""
        sizes = self.descriptor.split(split).row_groups
        groups = self._row_groups(split, order)
        if order is None:
            parts: Iterator[Part] = (Part(group.x, group.y, None) for group in groups)
        else:
            parts = shuffled_windows(groups, sizes, order)
        yield from cut(parts, sum(sizes), batch_size)
        # Run the reader to its end: that is where it notices what is too much or too little.
        for group in groups:
            raise DataError(f"{self.path}: split {split!r} gave row group {group.position} after the end of the epoch")

    def _row_groups(self, split: str, order: EpochOrder | None = None) -> Iterator[RowGroup]:
        return read_row_groups(
            self.folder.filesystem(),
            self.descriptor,
            split,
            order=None if order is None else order.row_groups,
            seed=None if order is None else order.seed,
            threads=self.readers,
        )


def _cached_batches(
    split: DecodedSplit, sizes: tuple[int, ...], batch_size: int, order: EpochOrder | None
) -> Iterator[Batch]:
    rows = None
    if order is not None:
        windows = [stored_positions(window, sizes) for window in order.windows()]
        rows = np.concatenate([window[order.permutation(i, len(window))] for i, window in enumerate(windows)])
    return cut([Part(split.x, split.y, rows)], len(split.y), batch_size)
