"""Make petastorm 0.12 import and run on current pyarrow and numpy, and keep it from unpickling anything.

petastorm 0.12.1 is the last release that loses no rows, but it stops at pyarrow 14 and numpy 1.26 (uber/petastorm#805).
`install()` closes the gap without touching pyarrow or numpy for anybody else:

- while petastorm is imported, stand-ins for the modules that are gone (`pyarrow.filesystem`, `pyarrow.hdfs`; on Python
  3.12 `distutils`) are in `sys.modules`, and that `distutils` is deprecated is not said; afterwards all is as before;
- petastorm's own modules get `Legacy` in place of `pyarrow.parquet` and `_Numpy1` in place of numpy;
- **metadata is never read**: the Unischema in `_common_metadata` is a pickle, and petastorm's "restricted" unpickler
  lets `builtins.eval` through. `get_schema` always answers "none", and the unpickler itself refuses;
- thread pool and ventilator are those of `petastorm_pool`;
- each file is opened and its footer read once an epoch, where petastorm does both again for every row group: on an
  object store that is a request each.

Only `make_batch_reader` over a list of files on a pyarrow filesystem is supported: what `data.reader` uses.
"""

from __future__ import annotations

import importlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType, SimpleNamespace

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.fs  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from spark_nas.data.petastorm_pool import ordered_thread_pool, prompt_ventilator
from spark_nas.errors import DataError, UsageError

_lock = threading.Lock()
_installed = False


def install() -> None:
    """Prepare petastorm; call it before any use of petastorm, in every process. Idempotent and thread-safe.

    Raises UsageError when petastorm is missing or is a release other than 0.12.
    """
    global _installed  # noqa: PLW0603 - one switch for the process, under the lock
    with _lock:
        if not _installed:
            _check_version(_petastorm_version())
            with _stand_ins():
                importlib.import_module("petastorm.reader")
            _patch()
            _installed = True


def _petastorm_version() -> str | None:
    try:
        return version("petastorm")
    except PackageNotFoundError:
        return None


def _check_version(found: str | None) -> None:
    if found is None:
        raise UsageError("petastorm is not installed; pip install petastorm==0.12.1")
    if not found.startswith("0.12."):
        why = "loses rows without an error" if found.startswith("0.13.") else "is not supported"
        raise UsageError(f"petastorm {found} {why}; pip install petastorm==0.12.1")


@contextmanager
def _stand_ins() -> Iterator[None]:
    """The modules that petastorm imports by name but needs only for HDFS, while it is imported."""

    class Removed:
        """Takes the place of a class that current pyarrow no longer has."""

    wanted = {
        "pyarrow.filesystem": {"LocalFileSystem": Removed},
        "pyarrow.hdfs": {"HadoopFileSystem": Removed},
        "distutils": {},
        "distutils.version": {"LooseVersion": Removed},
    }
    added = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            for name, attributes in wanted.items():
                try:
                    importlib.import_module(name)
                except ImportError:
                    sys.modules[name] = ModuleType(name)
                    vars(sys.modules[name]).update(attributes)
                    added.append(name)
            yield
        finally:
            for name in added:
                sys.modules.pop(name, None)


def _patch() -> None:
    legacy, numpy1 = Legacy("pyarrow.parquet"), _Numpy1("numpy")
    for name in (
        "reader",
        "arrow_reader_worker",
        "py_dict_reader_worker",
        "etl.dataset_metadata",
        "etl.rowgroup_indexing",
    ):
        vars(importlib.import_module(f"petastorm.{name}"))["pq"] = legacy
    for name in ("arrow_reader_worker", "unischema"):
        vars(importlib.import_module(f"petastorm.{name}"))["np"] = numpy1
    # The worker opens each file a second time and never uses it: the piece reads for itself.
    vars(importlib.import_module("petastorm.arrow_reader_worker"))["ParquetFile"] = lambda _shard: None
    metadata = importlib.import_module("petastorm.etl.dataset_metadata")
    for module in (metadata, importlib.import_module("petastorm.etl.rowgroup_indexing")):
        vars(module)["depickle_legacy_package_name_compatible"] = _refuse_pickle
    etl_legacy = importlib.import_module("petastorm.etl.legacy")
    for name in ("restricted_loads", "depickle_legacy_package_name_compatible"):
        vars(etl_legacy)[name] = _refuse_pickle
    vars(metadata)["get_schema"] = _no_schema
    reader = importlib.import_module("petastorm.reader")
    thread_pool = importlib.import_module("petastorm.workers_pool.thread_pool")
    # A worker prints the traceback of an error before it hands the error over; whoever catches it says it in one line.
    vars(thread_pool)["sys"] = SimpleNamespace(stderr=_Silent())
    vars(reader)["ThreadPool"] = ordered_thread_pool(thread_pool)
    ventilator = importlib.import_module("petastorm.workers_pool.ventilator")
    vars(reader)["ConcurrentVentilator"] = prompt_ventilator(ventilator)


class _Silent:
    """A standard error that says nothing."""

    def write(self, text: str) -> None:
        """Drop the text."""


def _refuse_pickle(*_: object) -> None:
    raise DataError("a pickled petastorm schema is never read; describe the data by descriptor.json (prepare-data)")


def _no_schema(_dataset: object) -> None:
    """`get_schema` that always sends petastorm to the Parquet schema."""
    errors = importlib.import_module("petastorm.etl.dataset_metadata")
    raise errors.PetastormMetadataError("schemas in _common_metadata are pickles and are not read")


class _Numpy1(ModuleType):
    """numpy with the two names that petastorm uses and numpy 2 no longer has."""

    unicode_, string_ = np.str_, np.bytes_

    def __getattr__(self, name: str) -> object:
        return getattr(np, name)


class Shard:
    """One Parquet file: its footer is read once, and kept as long as somebody reads its row groups. Thread-safe."""

    def __init__(self, path: str, filesystem: pyarrow.fs.FileSystem) -> None:
        self._path, self._filesystem = path, filesystem
        self._lock = threading.Lock()
        self._footer: pq.FileMetaData | None = None

    def footer(self) -> pq.FileMetaData:
        """The footer. Raises DataError naming the file when it is missing or damaged."""
        with self._lock:
            if self._footer is None:
                with self._unreadable_is_an_error(), self._open() as handle:
                    self._footer = pq.read_metadata(handle)
            return self._footer

    def read(self, row_group: int | None, columns: Sequence[str] | None) -> pa.Table:
        """The rows of a row group (None: of all), each column in one chunk; page checksums are verified."""
        footer = self.footer()
        with self._unreadable_is_an_error(), self._open() as handle:
            file = pq.ParquetFile(handle, metadata=footer, page_checksum_verification=True, pre_buffer=True)
            if row_group is None:
                return file.read(columns=columns, use_threads=False).combine_chunks()
            return file.read_row_group(row_group, columns=columns, use_threads=False).combine_chunks()

    def _open(self) -> pa.NativeFile:
        return self._filesystem.open_input_file(self._path.lstrip("/"))

    @contextmanager
    def _unreadable_is_an_error(self) -> Iterator[None]:
        try:
            yield
        except (pa.ArrowException, OSError, ValueError) as error:
            raise _corrupt(self._path, error) from error


class Piece:
    """One row group of one file (or a whole file): the part of the legacy `ParquetDatasetPiece` that petastorm uses."""

    def __init__(
        self,
        path: str,
        open_file_func: Callable[[str], Shard],
        row_group: int | None = None,
        partition_keys: object = (),
    ) -> None:
        self.path, self.row_group, self.partition_keys = path, row_group, partition_keys
        self._shard = open_file_func(path)

    def get_metadata(self) -> pq.FileMetaData:
        """The footer. Raises DataError naming the file when it is damaged."""
        return self._shard.footer()

    def read(self, columns: Sequence[str] | set[str] | None = None, partitions: object = None) -> pa.Table:
        """The rows, each column in one chunk; page checksums are verified. Raises DataError naming the file."""
        names = None if columns is None else sorted(columns)
        table = self._shard.read(self.row_group, names)
        missing = sorted(set(names or ()) - set(table.column_names))
        if missing:  # pyarrow leaves out what is not there, and petastorm would stumble over it later
            raise _corrupt(self.path, LookupError(f"no column {', '.join(missing)}"))
        return table


class Dataset:
    """A list of Parquet files on a pyarrow filesystem: the part of the legacy `ParquetDataset` that petastorm uses.

    `_metadata` and `_common_metadata` are never opened, so there is nothing to unpickle.
    """

    metadata = common_metadata = partitions = None

    def __init__(self, path_or_paths: Sequence[str], filesystem: pyarrow.fs.FileSystem, **_: object) -> None:
        if isinstance(path_or_paths, str) or not isinstance(filesystem, pyarrow.fs.FileSystem):
            raise TypeError("give make_batch_reader a list of file URLs and filesystem=pyarrow.fs.FileSystem")
        self.paths = list(path_or_paths)
        self.fs = _Opener(filesystem)
        self.pieces = [Piece(path, self.fs.open) for path in self.paths]


class _Opener:
    """The one method of an fsspec filesystem that petastorm calls here."""

    def __init__(self, filesystem: pyarrow.fs.FileSystem) -> None:
        self._filesystem = filesystem
        self._shards: dict[str, Shard] = {}

    def open(self, path: str) -> Shard:
        """The file of that path, the same for all its row groups. Nothing is opened yet."""
        return self._shards.setdefault(path, Shard(path, self._filesystem))


class Legacy(ModuleType):
    """`pyarrow.parquet` as petastorm 0.12 knows it."""

    ParquetDataset, ParquetDatasetPiece = Dataset, Piece

    def __getattr__(self, name: str) -> object:
        return getattr(pq, name)


def _corrupt(path: str, error: Exception) -> DataError:
    first_line = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(f"{path.lstrip('/')}: unreadable shard ({first_line}); prepare the data again")
