"""Arrays in a .npz file: `x_train`, `y_train` and perhaps `x_valid`, `y_valid`, `x_test`, `y_test`; or just `x`, `y`.

`classes` may hold the class names (an array of strings). Nothing is unpickled. Examples are [rows, C, H, W],
[rows, C, L] or [rows, F]; images that come channels last ([rows, H, W, 1 or 3]) are turned round, and bytes of
[rows, H, W] are taken for grey images.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.sources.base import MAX_BYTES, SPLITS, Arrays, Raw, class_count
from spark_nas.errors import DataError

_CHANNELS = (1, 3)


@dataclass(frozen=True)
class Npz:
    """One such file."""

    path: str

    def read(self) -> Raw:
        """Read it. Raises DataError naming the file and the array that is missing or unusable."""
        arrays = self._load()
        if {"x", "y"} <= set(arrays):
            arrays = {"x_train": arrays["x"], "y_train": arrays["y"], **arrays}
        splits = {}
        for split in SPLITS:
            x, y = arrays.get(f"x_{split}"), arrays.get(f"y_{split}")
            if (x is None) != (y is None):
                raise DataError(f"{self.path}: only one of x_{split} and y_{split} is there; both are needed")
            if x is not None and y is not None:
                splits[split] = Arrays(self._examples(x, f"x_{split}"), self._labels(y, f"y_{split}"))
        if "train" not in splits:
            raise DataError(
                f"{self.path}: holds {', '.join(arrays) or 'nothing'}; expected x_train and y_train, or x and y"
            )
        if "classes" in arrays:
            classes = tuple(map(str, arrays["classes"].tolist()))
        else:
            labels = {f"{self.path}: y_{split}": part.y for split, part in splits.items()}
            classes = tuple(map(str, range(class_count(labels))))
        return Raw(Path(self.path).stem, self.path, f"arrays in {Path(self.path).name}", classes, splits)

    def _load(self) -> Mapping[str, NDArray[np.generic]]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise DataError(
                    f"{self.path}: {size / 2**30:.1f} GiB of arrays; prepare-data holds {MAX_BYTES / 2**30:.0f} GiB"
                )
            with np.load(self.path, allow_pickle=False) as archive:
                return {name: archive[name] for name in archive.files}
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file") from None
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{self.path}: not a readable .npz of plain arrays ({error})") from None

    def _examples(self, x: NDArray[np.generic], key: str) -> NDArray[np.generic]:
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
        return y.astype(np.int64)
