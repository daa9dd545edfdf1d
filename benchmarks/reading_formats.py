"""The rivals' own formats, for `reading_contestants.py`; runs in their virtual environment."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROW_GROUP = 1365
"""Rows of 3x32x32 bytes in 4 MiB: what our shards have."""


def write_petastorm(x: Any, y: Any, folder: Path) -> None:  # noqa: ANN401
    """`unischema`, which `materialize_dataset` would make, and `lists`, plain columns; 8 files each."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from petastorm.codecs import NdarrayCodec, ScalarCodec
    from petastorm.unischema import Unischema, UnischemaField
    from pyspark.sql.types import LongType

    fields = [UnischemaField("x", np.uint8, (3, 32, 32), NdarrayCodec(), False)]
    schema = Unischema("Images", [*fields, UnischemaField("y", np.int64, (), ScalarCodec(LongType()), False)])
    groups = {}
    for number, rows in enumerate(np.array_split(np.arange(len(y)), 8)):
        encoded = [bytes(schema.fields["x"].codec.encode(schema.fields["x"], image)) for image in x[rows]]
        flat = pa.array(x[rows].reshape(-1))
        lists = pa.ListArray.from_arrays(np.arange(0, len(flat) + 1, 3072, dtype=np.int32), flat)
        for name, column in (("unischema", pa.array(encoded)), ("lists", lists)):
            path = folder / name / f"part-{number:05d}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            table = pa.table({"x": column, "y": pa.array(y[rows])})
            pq.write_table(table, path, row_group_size=ROW_GROUP, use_dictionary=False)
        groups[f"part-{number:05d}.parquet"] = -(-len(rows) // ROW_GROUP)
    metadata = {
        b"dataset-toolkit.unischema.v1": pickle.dumps(schema),
        b"dataset-toolkit.num_row_groups_per_file.v1": json.dumps(groups).encode(),
    }
    first = pq.read_schema(folder / "unischema" / "part-00000.parquet")
    pq.write_metadata(first.with_metadata(metadata), folder / "unischema" / "_common_metadata")


def write_mosaic(x: Any, y: Any, folder: Path) -> None:  # noqa: ANN401
    """`mds`: shards of 16 MiB, not compressed."""
    from streaming import MDSWriter

    columns = {"x": "ndarray:uint8:3,32,32", "y": "int"}
    with MDSWriter(out=str(folder / "mds"), columns=columns, size_limit=1 << 24) as writer:
        for image, label in zip(x, y, strict=True):
            writer.write({"x": image, "y": int(label)})


WRITERS: dict[str, Callable[[Any, Any, Path], None]] = {"petastorm": write_petastorm, "mosaic": write_mosaic}
