"""petastorm runs on today's libraries, reads what plain pyarrow reads, and never unpickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest

from spark_nas.data import petastorm_compat, reader
from spark_nas.data.petastorm_compat import install
from spark_nas.data.reader import read_row_groups
from spark_nas.data.text_descriptor import load_any
from spark_nas.errors import DataError, UsageError
from tests.data.conftest import local_filesystem

UNISCHEMA_KEY = b"dataset-toolkit.unischema.v1"


class Hostile:
    """A pickle that makes a file when it is loaded, by the `builtins` that petastorm's own unpickler lets through."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return eval, (f"open({str(self.mark)!r}, 'w').close()",)


@pytest.fixture
def hostile(digits_folder: Path, copy_of: Callable[[Path], Path]) -> tuple[Path, Path]:
    """A data set with such a pickle where petastorm keeps its schema, and the file it would make."""
    path = copy_of(digits_folder)
    mark = path.parent / "executed"
    payload = pickle.dumps(Hostile(mark))
    schema = pq.read_schema(path / "train/part-00000.parquet").with_metadata({UNISCHEMA_KEY: payload})
    for name in ("_common_metadata", "_metadata"):
        pq.write_metadata(schema, path / "train" / name)
    return path, mark


def test_the_crafted_pickle_does_run_in_petastorms_own_unpickler(tmp_path: Path):
    # A fresh process, because install() has closed this door in ours.
    code = f"""
import importlib.util, sys
spec = importlib.util.find_spec("petastorm")
legacy = importlib.util.spec_from_file_location("legacy", spec.submodule_search_locations[0] + "/etl/legacy.py")
module = importlib.util.module_from_spec(legacy); legacy.loader.exec_module(module)
module.restricted_loads({pickle.dumps(Hostile(tmp_path / "executed"))!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "executed").exists()


@pytest.mark.spark
def test_a_hostile_schema_beside_the_shards_is_not_executed(hostile: tuple[Path, Path]):
    path, mark = hostile
    groups = list(read_row_groups(local_filesystem(path), load_any(path), "train"))
    assert sum(len(group.y) for group in groups) == 1258
    assert not mark.exists()


@pytest.mark.spark
def test_petastorm_itself_no_longer_opens_a_folder_with_a_schema(hostile: tuple[Path, Path]):
    path, mark = hostile
    install()
    from petastorm import make_batch_reader, make_reader

    for make in (make_batch_reader, make_reader):
        with pytest.raises((TypeError, AttributeError)):
            make(f"file://{path}/train", filesystem=pyarrow.fs.LocalFileSystem())
    assert not mark.exists()


def test_the_unpicklers_of_petastorm_refuse():
    install()
    from petastorm.etl import dataset_metadata, legacy, rowgroup_indexing

    for module in (dataset_metadata, legacy, rowgroup_indexing):
        with pytest.raises(DataError, match="never read"):
            module.depickle_legacy_package_name_compatible(pickle.dumps(1))


def test_pyarrow_and_numpy_stay_as_they_are_for_everybody_else():
    code = """
import sys, numpy as np, pyarrow as pa, pyarrow.parquet as pq
before = set(dir(np)), set(dir(pa)), set(dir(pq)), {m for m in sys.modules if m.startswith("pyarrow")}
from spark_nas.data.petastorm_compat import install
install(); install()
import petastorm
after = set(dir(np)), set(dir(pa)), set(dir(pq)), {m for m in sys.modules if m.startswith("pyarrow")}
new = [a - b for a, b in zip(after, before)]
assert not {"unicode_", "string_"} & new[0], new[0]
assert not {"localfs", "LocalFileSystem", "filesystem", "hdfs"} & new[1], new[1]
assert not {"ParquetDatasetPiece"} & new[2], new[2]
assert not {"pyarrow.filesystem", "pyarrow.hdfs"} & new[3], new[3]
assert not {"pyspark", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_may_install_together():
    code = """
import threading
from spark_nas.data.petastorm_compat import install
errors = []
def go():
    try:
        install()
        import petastorm.reader
        assert petastorm.reader.pq.ParquetDataset.__module__ == "spark_nas.data.petastorm_compat"
    except BaseException as error:
        errors.append(error)
threads = [threading.Thread(target=go) for _ in range(8)]
[t.start() for t in threads]; [t.join() for t in threads]
assert not errors, errors
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("found", "message"),
    [("0.13.1", "petastorm 0.13.1 loses rows"), ("0.9.0", "0.9.0 is not supported"), (None, "is not installed")],
)
def test_other_releases_of_petastorm_are_refused(monkeypatch: pytest.MonkeyPatch, found: str | None, message: str):
    monkeypatch.setattr(petastorm_compat, "_installed", False)
    monkeypatch.setattr(petastorm_compat, "_petastorm_version", lambda: found)
    with pytest.raises(UsageError, match=message) as caught:
        install()
    assert "pip install petastorm==0.12.1" in str(caught.value)


@pytest.mark.spark
@pytest.mark.parametrize("threads", [1, 4])
def test_no_read_of_many_loses_rows(many_groups: Path, threads: int):
    descriptor = load_any(many_groups)
    for _ in range(25):
        groups = read_row_groups(local_filesystem(many_groups), descriptor, "valid", threads=threads)
        assert sum(len(group.y) for group in groups) == 60


@pytest.mark.spark
@pytest.mark.parametrize("lost", [0, 5, 11])
def test_a_row_group_that_the_reader_loses_is_an_error(many_groups: Path, monkeypatch: pytest.MonkeyPatch, lost: int):
    original = reader._batches
    monkeypatch.setattr(reader, "_batches", lambda *a: (b for i, b in enumerate(original(*a)) if i != lost))
    with pytest.raises(DataError, match=r"of 12 row groups.*: the epoch is incomplete"):
        list(read_row_groups(local_filesystem(many_groups), load_any(many_groups), "train"))


@pytest.mark.spark
def test_petastorm_shuffles_row_groups_as_epoch_order_says(many_groups: Path):
    from spark_nas.data.order import epoch_order

    order = epoch_order(12, 4, 1, 16)
    descriptor = load_any(many_groups)
    arrived = [int(b.id[0]) for b in reader._batches(local_filesystem(many_groups), descriptor, "train", order.seed, 1)]
    starts = np.cumsum((0, *descriptor.splits["train"].row_groups))
    assert arrived == [starts[group] for group in order.row_groups]


def test_a_folder_whose_name_would_break_a_url_is_read(tmp_path: Path):
    folder = tmp_path / "a#b?c d%20" / "train"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"id": [1]}), folder / "p.parquet")
    install()
    from petastorm import make_batch_reader

    with make_batch_reader(
        ["file:///train/p.parquet"], filesystem=local_filesystem(folder.parent), workers_count=1
    ) as rows:
        assert [batch.id.tolist() for batch in rows] == [[1]]
