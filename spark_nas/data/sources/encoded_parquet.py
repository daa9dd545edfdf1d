"""A Parquet file of encoded images, as CIFAR-10 and CIFAR-100 are passed around.

Columns: `split` (train, valid, test), `label` (integer), `image` (bytes of a PNG or JPEG), and if known `name`: `CLASS`
or `CLASS/FILE`. All images become colour where any of them is.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
from numpy.typing import NDArray

from spark_nas.data.sources.base import SPLITS, Arrays, Raw, check_size, class_count
from spark_nas.data.sources.images import decode_image, is_grey
from spark_nas.errors import DataError


@dataclass(frozen=True)
class EncodedParquet:
    """One such file."""

    path: str
    image_size: int | None = None

    def read(self) -> Raw:
        """Read and decode it. Raises DataError naming the file, and the row of a corrupt image."""
        path = Path(self.path)
        table = self._table()
        label = table["label"].to_numpy().astype(np.int64)
        classes = self._classes(table, label)
        grey = all(
            is_grey(io.BytesIO(content.as_py()), f"{path}: row {row}") for row, content in enumerate(table["image"])
        )
        split_of = np.asarray(table["split"].to_pylist())
        splits = {}
        for split in SPLITS:
            rows = np.flatnonzero(split_of == split)
            if len(rows):
                splits[split] = Arrays(self._decode(table["image"], rows, 1 if grey else 3), label[rows])
        return Raw(path.stem, self.path, f"encoded images in {path.name}", classes, splits)

    def _table(self) -> pa.Table:
        """The columns, looked at but for their values."""
        path = Path(self.path)
        try:
            names = set(pq.read_schema(path).names)
            table = pq.read_table(path, columns=[c for c in ("split", "label", "name", "image") if c in names])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path}: not readable Parquet ({error})") from None
        missing = {"split", "label", "image"} - set(table.column_names)
        if missing:
            raise DataError(f"{path}: no column {', '.join(sorted(missing))}; expected split, label, image (bytes)")
        if any(table[column].null_count for column in table.column_names):
            raise DataError(f"{path}: holds nulls; remove those rows")
        if not pa.types.is_integer(table["label"].type) or not _is_bytes(table["image"].type):
            raise DataError(
                f"{path}: label must be integers and image bytes, not {table['label'].type}, {table['image'].type}"
            )
        unknown = set(table["split"].unique().to_pylist()) - set(SPLITS)
        if unknown:
            raise DataError(f"{path}: unknown split {', '.join(map(repr, unknown))}; expected {', '.join(SPLITS)}")
        return table

    def _decode(self, images: pa.ChunkedArray, rows: NDArray[np.int64], channels: int) -> NDArray[np.uint8]:
        encoded = images.take(pa.array(rows)).to_pylist()
        first = decode_image(encoded[0], f"{self.path}: row {rows[0]}", channels, self.image_size)
        check_size(self.path, len(rows), first.size)
        x = np.empty((len(rows), *first.shape), np.uint8)
        for i, content in enumerate(encoded):
            where = f"{self.path}: row {rows[i]}"
            image = decode_image(content, where, channels, self.image_size)
            if image.shape != first.shape:
                raise DataError(f"{where}: image of {image.shape}, the first is {first.shape}; give --image-size")
            x[i] = image
        return x

    def _classes(self, table: pa.Table, label: NDArray[np.int64]) -> tuple[str, ...]:
        count = class_count({self.path: label})
        names = {int(i): str(i) for i in np.unique(label)}
        if "name" in table.column_names:
            pairs = set(zip(label.tolist(), map(str, table["name"].to_pylist()), strict=True))
            if len(pairs) != len(names):  # not the class's name, so that of the file below the class's folder
                pairs = {(i, name.rpartition("/")[0]) for i, name in pairs}
            if len(pairs) != len(names) or "" in dict(pairs).values():
                raise DataError(f"{self.path}: a label has several names; name must be CLASS or CLASS/FILE")
            names = dict(pairs)
        return tuple(names.get(i, str(i)) for i in range(count))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
