"""Arrays in a .npz file: `x_train`, `y_train` and perhaps `x_valid`, `y_valid`, `x_test`, `y_test`; or just `x`, `y`.

`classes` may hold the class names (an array of strings, or of their UTF-8 bytes), each once. Nothing is unpickled.
Examples are [rows, C, H, W], [rows, C, L] or [rows, F]; images that come channels last ([rows, H, W, 1 or 3]) are
turned round, and bytes of [rows, H, W] are taken for grey images.
"""

from __future__ import annotations

import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.descriptor import DTYPES
from spark_nas.data.sources.base import MAX_BYTES, SPLITS, Arrays, Raw, class_count
from spark_nas.errors import DataError

_CHANNELS = (1, 3)
_NAMES = {"x", "y", "classes", *(f"{array}_{split}" for array in "xy" for split in SPLITS)}


@dataclass(frozen=True)
class Npz:
    """One such file."""

    path: str

    def read(self) -> Raw:
        """Read it. Raises DataError naming the file and the array that is missing or unusable."""
        arrays = self._load()
        keys = self._keys(set(arrays))
        splits = {}
        for split, (x, y) in keys.items():
            if (x in arrays) != (y in arrays):
                raise DataError(f"{self.path}: only one of {x} and {y} is there; both are needed")
            if x in arrays:
                splits[split] = Arrays(self._examples(arrays[x], x), self._labels(arrays[y], y))
        if "train" not in splits:
            raise DataError(
                f"{self.path}: holds {', '.join(arrays) or 'nothing'}; expected x_train and y_train, or x and y"
            )
        if "classes" in arrays:
            classes = self._classes(arrays["classes"])
        else:
            labels = {f"{self.path}: {keys[split][1]}": part.y for split, part in splits.items()}
            classes = tuple(map(str, range(class_count(labels))))
        return Raw(Path(self.path).stem, self.path, f"arrays in {Path(self.path).name}", classes, splits)

    def _keys(self, names: set[str]) -> dict[str, tuple[str, str]]:
        """The names of each split's two arrays in this file."""
        keys = {split: (f"x_{split}", f"y_{split}") for split in SPLITS}
        short, long = sorted({"x", "y"} & names), sorted(set(keys["train"]) & names)
        if short and long:  # which of them are the training examples is not ours to guess
            raise DataError(
                f"{self.path}: holds {' and '.join(short)} as well as {' and '.join(long)}; "
                "leave one pair out: either x and y, or x_train and y_train"
            )
        return {**keys, "train": ("x", "y")} if {"x", "y"} <= names else keys

    def _load(self) -> Mapping[str, NDArray[np.generic]]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise DataError(
                    f"{self.path}: {size / 2**30:.1f} GiB of arrays; prepare-data holds {MAX_BYTES / 2**30:.0f} GiB"
                )
            with np.load(self.path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file") from None
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{self.path}: not a readable .npz of plain arrays ({error})") from None
        for name, array in arrays.items():
            if name in _NAMES and not isinstance(array, np.ndarray):  # numpy gives other members as their bytes
                raise DataError(
                    f"{self.path}: {name} is {len(array)} raw bytes, not an array; write the file with numpy.savez"
                )
        return arrays

    def _examples(self, x: NDArray[np.generic], key: str) -> NDArray[np.generic]:
        if x.dtype.kind not in "biufc":
            raise DataError(
                f"{self.path}: {key} is {x.dtype} of shape {x.shape}, not numbers; "
                f"convert it to one of {', '.join(DTYPES)}"
            )
        if x.ndim < 2:
            raise DataError(f"{self.path}: {key} has shape {x.shape}; expected [rows, ...]")
        kinds = {"bool": "uint8", "float64": "float32"}
        x = x.astype(kinds.get(x.dtype.name, x.dtype.name), copy=False)
        if x.ndim == 3 and x.dtype == np.uint8:
            return x[:, None]
        if x.ndim == 4 and x.shape[3] in _CHANNELS and x.shape[1] not in _CHANNELS:
            return x.transpose(0, 3, 1, 2)
        return x

    def _labels(self, y: NDArray[np.generic], key: str) -> NDArray[np.int64]:
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1 or y.dtype.kind not in "iu":
            raise DataError(f"{self.path}: {key} is {y.dtype} of shape {y.shape}; expected integers [rows]")
        if int(y.max(initial=0)) > np.iinfo(np.int64).max:  # would wrap round, and the message name what is not there
            row = int(y.argmax())
            raise DataError(f"{self.path}: {key}: label {y[row]} in row {row}; number the classes 0, 1, 2, ...")
        return y.astype(np.int64)

    def _classes(self, names: NDArray[np.generic]) -> tuple[str, ...]:
        where = f"{self.path}: classes"
        if names.ndim != 1 or names.dtype.kind not in "USbiuf":
            raise DataError(
                f"{where} is {str(names.tolist())[:40]!r} ({names.dtype} of shape {names.shape}); "
                "expected one string for each class, [classes]"
            )
        classes = tuple(_text(name, where) for name in names.tolist())
        twice = [name for name, count in Counter(classes).items() if count > 1]
        if twice:
            few = ", ".join(map(repr, twice[:3])) + (", ..." if len(twice) > 3 else "")
            raise DataError(f"{where} holds {few} more than once; give each class a name of its own")
        return classes


def _text(name: object, where: str) -> str:
    try:
        return name.decode() if isinstance(name, bytes) else str(name)
    except UnicodeDecodeError:
        raise DataError(f"{where} holds {name!r}, which is not UTF-8; store the names as strings") from None
