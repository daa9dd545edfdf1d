"""What every source of examples gives: arrays in memory, split as the source splits them.

A source is read on the driver, because what this release prepares (MNIST to CIFAR, folders of small images) fits there;
`MAX_BYTES` bounds it, and a larger source is refused before it is decoded wherever its size can be known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.descriptor import DTYPES
from spark_nas.errors import DataError

MAX_BYTES = 8 << 30
"""Most decoded bytes a source may have: they are held in the driver's memory."""
SPLITS = ("train", "valid", "test")
_CLASSES = 10_000
"""So many classes a set may have whatever its size: a part of a large set keeps the large one's labels."""


@dataclass(frozen=True)
class Arrays:
    """Examples of one split: x [rows, *input_shape], y [rows] int64."""

    x: NDArray[np.generic]
    y: NDArray[np.int64]


@dataclass(frozen=True)
class Raw:
    """What a source holds. Checked on construction; raises DataError naming `where`."""

    name: str
    """Short name of the data set."""
    where: str
    """The file or folder, for messages; not stored."""
    description: str
    """What goes into the descriptor: no machine paths."""
    classes: tuple[str, ...]
    splits: Mapping[str, Arrays]
    """`train`, and `valid` and `test` where the source has them itself."""

    def __post_init__(self) -> None:
        if "train" not in self.splits or not set(self.splits) <= set(SPLITS):
            raise DataError(
                f"{self.where}: has splits {', '.join(self.splits)}; expected train, and perhaps valid and test"
            )
        shape, dtype = self.splits["train"].x.shape[1:], self.splits["train"].x.dtype
        if not shape or math.prod(shape) == 0:
            raise DataError(f"{self.where}: examples of shape {shape} hold nothing; x must be [rows, ...]")
        for split, arrays in self.splits.items():
            self._check_split(split, arrays, shape, dtype)
        present = np.unique(self.splits["train"].y)
        if len(self.classes) < 2 or len(present) < 2:
            raise DataError(f"{self.where}: training examples of {len(present)} class; at least 2 classes are needed")

    def _check_split(self, split: str, arrays: Arrays, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> None:
        where = f"{self.where}: split {split!r}"
        if len(arrays.x) != len(arrays.y):
            raise DataError(f"{where} has {len(arrays.x)} examples but {len(arrays.y)} labels")
        if not len(arrays.y):
            raise DataError(f"{where} is empty; remove it or fill it")
        if arrays.x.shape[1:] != shape or arrays.x.dtype != dtype:
            raise DataError(
                f"{where} has {arrays.x.shape[1:]} {arrays.x.dtype}, 'train' has {shape} {dtype}; they must agree"
            )
        if arrays.x.dtype.name not in DTYPES:
            raise DataError(f"{where} is of type {arrays.x.dtype}; convert it to one of {', '.join(DTYPES)}")
        if arrays.x.dtype.kind == "f" and not np.isfinite(arrays.x).all():
            raise DataError(f"{where} holds NaN or infinity; clean it first")
        low, high = int(arrays.y.min()), int(arrays.y.max())
        if low < 0 or high >= len(self.classes):
            raise DataError(f"{where} has labels {low}..{high}; expected 0..{len(self.classes) - 1}")


class Source(Protocol):
    """Something that `prepare` can read."""

    def read(self) -> Raw:
        """Read it whole, on the driver. Raises DataError naming the file that is missing, corrupt or too large."""
        ...


def check_size(where: str, rows: int, example_bytes: int, limit: int = MAX_BYTES) -> None:
    """Refuse what would not fit. Raises DataError."""
    if rows * example_bytes > limit:
        needed, most = rows * example_bytes / 2**30, limit / 2**30
        raise DataError(
            f"{where}: {needed:.1f} GiB decoded is more than the {most:.1f} GiB that prepare-data holds in memory"
        )


def class_count(labels: Mapping[str, NDArray[np.int64]]) -> int:
    """One more than the largest label; the keys say where each array of labels lies.

    Raises DataError for a label that asks for more than 10,000 classes and more than there are rows: each class costs a
    name, and the network an output.
    """
    most = max(_CLASSES, sum(map(len, labels.values())))
    for where, y in labels.items():
        if y.max(initial=0) >= most:
            row = int(y.argmax())
            raise DataError(f"{where}: label {y[row]} in row {row}; number the classes 0, 1, 2, ... (below {most})")
    return 1 + max(int(y.max(initial=0)) for y in labels.values())
