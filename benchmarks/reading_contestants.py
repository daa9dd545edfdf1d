"""The contestants of `reading.py`: each is a generator that reads one epoch a step, opened in its first step.

Run as a script in the virtual environment of a contestant, so nothing that one of them lacks is imported above:

    python reading_contestants.py read NAME PLACE WARM EPOCHS     prints rows per second of each epoch, as JSON
    python reading_contestants.py write NAME ARRAYS FOLDER        makes a rival's own format, see `reading_formats.py`
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

BATCH = 256


class Epoch(NamedTuple):
    """What came out of one epoch."""

    rows: int
    labels: int
    """Sum of all labels: shows a lost row, or a doubled one."""


def _count(batches: Any) -> Epoch:  # noqa: ANN401
    rows = labels = 0
    for batch in batches:
        x, y = batch if isinstance(batch, tuple) else (batch["x"], batch["y"])
        assert tuple(x.shape[1:]) == (3, 32, 32)
        rows += len(y)
        labels += int(y.sum())
    return Epoch(rows, labels)


# ---- the limits ---------------------------------------------------------------------------------------------------


def _arrow_filesystem(place: str) -> tuple[Any, str]:
    import pyarrow.fs

    if not place.startswith("s3://"):
        return pyarrow.fs.LocalFileSystem(), place
    endpoint = os.environ["AWS_ENDPOINT_URL"].removeprefix("http://")
    return pyarrow.fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1"), place[5:]


def _arrow_row_groups(place: str, checksums: bool) -> Iterator[tuple[Any, Any]]:
    import numpy as np
    import pyarrow.fs
    import pyarrow.parquet as pq

    filesystem, root = _arrow_filesystem(place)
    for info in sorted(filesystem.get_file_info(pyarrow.fs.FileSelector(f"{root}/train")), key=lambda info: info.path):
        with filesystem.open_input_file(info.path) as handle:
            file = pq.ParquetFile(handle, page_checksum_verification=checksums, pre_buffer=True)
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=["x", "y"], use_threads=False).combine_chunks()
                x = table["x"].chunk(0)
                yield np.frombuffer(x.buffers()[1], np.uint8).reshape(-1, 3, 32, 32), table["y"].to_numpy()


def _arrow(place: str, checksums: bool) -> Iterator[Epoch]:
    def batches() -> Iterator[tuple[Any, Any]]:
        for x, y in _arrow_row_groups(place, checksums):
            for start in range(0, len(y), BATCH):
                yield x[start : start + BATCH].copy(), y[start : start + BATCH].copy()

    while True:
        yield _count(batches())


def pyarrow(place: str) -> Iterator[Epoch]:
    """Plain pyarrow into numpy, in stored order: no shuffle, nothing is checked."""
    return _arrow(place, checksums=False)


def pyarrow_checksums(place: str) -> Iterator[Epoch]:
    """The same, with the pages' checksums verified, as ours are."""
    return _arrow(place, checksums=True)


def numpy_copies(place: str) -> Iterator[Epoch]:
    """After the first epoch: shuffled batches out of one array in memory."""
    import numpy as np

    groups = list(_arrow_row_groups(place, checksums=False))
    x, y = np.concatenate([x for x, _ in groups]), np.concatenate([y for _, y in groups])
    seed = 0
    while True:
        order = np.random.default_rng(seed).permutation(len(y))
        chosen = (order[start : start + BATCH] for start in range(0, len(y), BATCH))
        yield _count((x[rows], y[rows]) for rows in chosen)
        seed += 1


# ---- ours ---------------------------------------------------------------------------------------------------------


def _spark_nas(place: str, cache_megabytes: int, readers: int) -> Iterator[Epoch]:
    from spark_nas.data.dataset import ShardedData

    data = ShardedData(place, cache_megabytes=cache_megabytes, readers=readers).build()
    epoch = 0
    while True:
        yield _count(data.batches("train", BATCH, seed=1, epoch=epoch))
        epoch += 1


def spark_nas(place: str) -> Iterator[Epoch]:
    """As an experiment gets it: shuffled, and kept in memory after the first epoch."""
    return _spark_nas(place, 1024, 1)


def spark_nas_streamed(place: str) -> Iterator[Epoch]:
    """Shuffled, every epoch streamed from the shards: what a split larger than the cache gets."""
    return _spark_nas(place, 0, 1)


def spark_nas_two_readers(place: str) -> Iterator[Epoch]:
    """The same with two reader threads."""
    return _spark_nas(place, 0, 2)


# ---- petastorm as it is -------------------------------------------------------------------------------------------


def _url(place: str) -> str:
    return place if place.startswith("s3://") else f"file://{place}"


def petastorm_rows(place: str) -> Iterator[Epoch]:
    """`make_reader` and `petastorm.pytorch.DataLoader` over petastorm's own format."""
    from petastorm import make_reader
    from petastorm.pytorch import DataLoader

    while True:
        reader = make_reader(_url(f"{place}/unischema"), num_epochs=1)
        with DataLoader(reader, batch_size=BATCH) as loader:
            yield _count(loader)


def petastorm_batches(place: str) -> Iterator[Epoch]:
    """`make_batch_reader` and `petastorm.pytorch.BatchedDataLoader` over columns of lists."""
    from petastorm.pytorch import BatchedDataLoader

    while True:
        with BatchedDataLoader(_list_reader(place), batch_size=BATCH, transform_fn=_tensors) as loader:
            yield _count(loader)


def petastorm_memory(place: str) -> Iterator[Epoch]:
    """The same with `InMemBatchedDataLoader`, petastorm's answer for several epochs; 100 of them at the most."""
    from petastorm.pytorch import InMemBatchedDataLoader

    loader = InMemBatchedDataLoader(
        _list_reader(place), batch_size=BATCH, transform_fn=_tensors, num_epochs=100, rows_capacity=10**6, shuffle=True
    )
    batches, rows = iter(loader), int(os.environ["READING_ROWS" if "warm" not in place else "READING_WARM_ROWS"])
    while True:
        epoch = Epoch(0, 0)
        while epoch.rows < rows:
            epoch = Epoch(*(a + b for a, b in zip(epoch, _count([next(batches)]), strict=True)))
        yield epoch


def _list_reader(place: str) -> Any:  # noqa: ANN401
    from petastorm import make_batch_reader

    return make_batch_reader(_url(f"{place}/lists"), num_epochs=1)


def _tensors(batch: Any) -> Any:  # noqa: ANN401
    """What `torch.as_tensor` does by default, and the images' shape, which a list column does not know."""
    import torch

    if isinstance(batch, dict):
        return {name: _tensors(value) for name, value in batch.items()}
    tensor = torch.as_tensor(batch)
    return tensor.reshape(-1, 3, 32, 32) if tensor.ndim > 1 else tensor


# ---- Mosaic Streaming ---------------------------------------------------------------------------------------------


def _mosaic(place: str, workers: int) -> Iterator[Epoch]:
    from streaming import StreamingDataLoader, StreamingDataset

    with tempfile.TemporaryDirectory() as scratch:
        where = {"remote": f"{place}/mds", "local": scratch} if place.startswith("s3://") else {"local": f"{place}/mds"}
        dataset = StreamingDataset(**where, shuffle=True, shuffle_seed=1, batch_size=BATCH)
        loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=workers)
        while True:
            yield _count(loader)


def mosaic(place: str) -> Iterator[Epoch]:
    """`StreamingDataset` and `StreamingDataLoader`, shuffled, in the process itself."""
    return _mosaic(place, 0)


def mosaic_two_workers(place: str) -> Iterator[Epoch]:
    """The same with two worker processes."""
    return _mosaic(place, 2)


def _let_torchvision_be_imported() -> None:
    """Mosaic imports torchvision, whose binary part does not load beside a torch for CPUs; reading does not need it."""
    from torch import library as operators

    library = operators.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    globals()["_kept"] = library  # its definitions live as long as it does


CONTESTANTS: dict[str, Callable[[str], Iterator[Epoch]]] = {
    function.__name__: function
    for function in (
        pyarrow,
        pyarrow_checksums,
        numpy_copies,
        spark_nas,
        spark_nas_streamed,
        spark_nas_two_readers,
        petastorm_rows,
        petastorm_batches,
        petastorm_memory,
        mosaic,
        mosaic_two_workers,
    )
}


def read(name: str, place: str, warm: str, epochs: int) -> list[dict[str, float]]:
    """Rows per second of each epoch; opening the data set is in the first, imports and first calls are in none."""
    next(CONTESTANTS[name](warm))
    reading = CONTESTANTS[name](place)
    measured = []
    for _ in range(epochs):
        start = time.perf_counter()
        epoch = next(reading)
        measured.append({**epoch._asdict(), "rate": epoch.rows / (time.perf_counter() - start)})
    return measured


def main() -> None:
    """See the module's docstring."""
    action, name = sys.argv[1:3]
    if name.startswith("mosaic"):
        _let_torchvision_be_imported()
        from streaming.base.util import clean_stale_shared_memory

        clean_stale_shared_memory()
    if action == "read":
        print(json.dumps(read(name, sys.argv[3], sys.argv[4], int(sys.argv[5]))))
        return
    import numpy as np
    import reading_formats  # beside this script

    with np.load(sys.argv[3]) as arrays:
        reading_formats.WRITERS[name](arrays["x"], arrays["y"], Path(sys.argv[4]))


if __name__ == "__main__":
    main()
