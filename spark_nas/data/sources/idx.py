"""MNIST's idx files, gzipped or not: `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-...` in one folder.

Format (LeCun's page): big-endian; two zero bytes, a type byte (8 = unsigned byte), the number of dimensions, a 32-bit
size for each, then the values in C order.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.sources.base import Arrays, Raw, check_size
from spark_nas.errors import DataError

_STEMS = {"train": "train", "test": "t10k"}
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


def find_idx(folder: Path, stem: str) -> Path | None:
    """The file of that stem, plain or gzipped, with `-` or `.` before `idx` as both are in use; None without one."""
    names = (f"{stem}{suffix}" for suffix in ("", ".gz"))
    variants = [candidate for name in names for candidate in (name, name.replace("-idx", ".idx"))]
    return next((folder / name for name in variants if (folder / name).is_file()), None)


@dataclass(frozen=True)
class Idx:
    """A folder with MNIST, Fashion-MNIST or another set in their format."""

    folder: str

    def read(self) -> Raw:
        """Read the four files. Raises DataError naming a missing or damaged one."""
        folder = Path(self.folder)
        splits = {}
        for split, stem in _STEMS.items():
            images, labels = (self._find(folder, f"{stem}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1"))
            x, y = read_idx(images), read_idx(labels)
            if x.ndim != 3 or y.ndim != 1:
                raise DataError(f"{images}: {x.ndim} dimensions, and {y.ndim} in {labels.name}; expected 3 and 1")
            splits[split] = Arrays(x[:, None], y.astype(np.int64))
        fashion = "fashion" in folder.absolute().as_posix().lower()
        count = 1 + max(int(arrays.y.max(initial=0)) for arrays in splits.values())
        names = _FASHION if fashion and count == len(_FASHION) else tuple(map(str, range(count)))
        name = "fashion-mnist" if fashion else "mnist"
        return Raw(name, self.folder, f"idx files {', '.join(_STEMS.values())}", names, splits)

    @staticmethod
    def _find(folder: Path, stem: str) -> Path:
        path = find_idx(folder, stem)
        if path is None:
            raise DataError(f"{folder}: no file {stem} or {stem}.gz")
        return path


def read_idx(path: Path) -> NDArray[np.uint8]:
    """One idx file of unsigned bytes. Raises DataError naming the file when it is damaged."""
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        raise DataError(f"{path}: not an idx file of unsigned bytes")
    shape = struct.unpack(f">{content[3]}I", content[4 : 4 + 4 * content[3]])
    check_size(str(path), shape[0] if shape else 0, math.prod(shape[1:]))
    start = 4 + 4 * len(shape)
    if len(content) - start != math.prod(shape):
        raise DataError(f"{path}: holds {len(content) - start} bytes of values, its header says {math.prod(shape)}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
