"""`TextDataset`: a prepared text as the training sees it, one stream of tokens a split.

A split is held in memory whole, 4 bytes a token (Penn Treebank: 4 MB; a thousand million tokens: 4 GB), because a
recurrent network reads it at many places at once. It is kept between epochs and jobs while it fits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.cache import DECODED, CacheKey, DecodedSplit, is_kept
from spark_nas.data.folder import DataFolder
from spark_nas.data.reader import read_row_groups
from spark_nas.data.text_descriptor import TextDescriptor, read_vocabulary
from spark_nas.errors import DataError


@dataclass(frozen=True)
class TextDataset:
    """A text over Parquet shards. Picklable; opens its shards where it is used."""

    folder: DataFolder
    descriptor: TextDescriptor
    cache_bytes: int
    readers: int

    @property
    def path(self) -> str:
        """Where the shards are."""
        return self.folder.location

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(): one token."""
        return ()

    @property
    def classes(self) -> int:
        """Number of different tokens."""
        return self.descriptor.vocabulary

    @property
    def fingerprint(self) -> str:
        """Identifies the content, whatever its sharding."""
        return self.descriptor.fingerprint

    def vocabulary(self) -> tuple[str, ...]:
        """What each number stands for. Raises DataError when the file is not what the descriptor says."""
        return read_vocabulary(self.folder, self.descriptor)

    def rows(self, split: str) -> int:
        """Number of tokens of a split. Raises DataError for an unknown split, naming those there are."""
        self.descriptor.split(split)
        return self.descriptor.tokens[split]

    def tokens(self, split: str) -> NDArray[np.int32]:
        """All tokens of a split in order, [rows]; read-only.

        Raises DataError when a shard is unreadable or the shards hold other tokens than the descriptor says.
        """
        self.descriptor.split(split)
        sizes = {name: self._bytes(name) for name in self.descriptor.splits}
        if not is_kept(split, sizes, self.cache_bytes):
            return self._read(split)
        key = CacheKey(self.path, self.fingerprint, split)
        return DECODED.get(key, lambda: self._decode(split), self.cache_bytes).x.view(np.int32)

    def _bytes(self, split: str) -> int:
        return self.descriptor.split(split).rows * self.descriptor.example_bytes

    def _decode(self, split: str) -> DecodedSplit:
        DECODED.make_room(self._bytes(split), self.cache_bytes)
        return DecodedSplit(self._read(split), np.empty(0, np.int64))

    def _read(self, split: str) -> NDArray[np.int32]:
        chunk, tokens, rows = self.descriptor.chunk, self.rows(split), self.descriptor.split(split).rows
        counts = np.full(rows, chunk)
        counts[-1] = tokens - (rows - 1) * chunk
        stream_NC = np.empty((rows, chunk), np.int32)
        start = 0
        for group in read_row_groups(self.folder.filesystem(), self.descriptor, split, threads=self.readers):
            stop = start + len(group.y)
            where = f"split {split!r} of {self.descriptor.name!r}: row group {group.position}"
            if not np.array_equal(group.y, counts[start:stop]):
                raise DataError(f"{where} holds other numbers of tokens than the descriptor says; prepare it again")
            stream_NC[start:stop] = group.x
            if stream_NC[start:stop].min() < 0 or stream_NC[start:stop].max() >= self.classes:
                raise DataError(f"{where} has tokens outside 0..{self.classes - 1}; prepare the data again")
            start = stop
        stream = stream_NC.reshape(-1)[:tokens]
        stream.flags.writeable = False
        return stream
