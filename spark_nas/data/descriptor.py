"""`descriptor.json`: everything a reader must know about a prepared data set, as plain JSON beside the shards.

    OUTPUT/descriptor.json                 written last: a folder without one is not (yet) a data set
    OUTPUT/SPLIT/part-00000.parquet ...    columns x (fixed-size binary), y (int64), id (int64)

`x` holds the raw little-endian bytes of one example in C order; its shape and dtype are only here. `id` is the row's
position in the stored order of its split, which `prepare` has shuffled globally. Nothing here or in the shards is
pickled. A descriptor is checked in full when it is read, because it may come from an untrusted bucket: file names stay
below the folder, the dtype is one of `DTYPES`, and all counts add up. A text has a descriptor of its own
(`text_descriptor`); what reading shards needs of either is a `Layout`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from spark_nas.data.folder import DataFolder, open_folder, reason
from spark_nas.errors import DataError

FILE_NAME = "descriptor.json"
FORMAT = "spark_nas.shards"
FORMAT_VERSION = 1
DTYPES = ("uint8", "int8", "int16", "int32", "float16", "float32")
"""Types an example may be stored in: what `torch.from_numpy` takes and networks read."""

_SHARD_NAME = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+\.parquet")
_REMEDY = "prepare the data again with `spark-nas prepare-data`"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ShardFile:
    """One Parquet file of a split."""

    name: str
    """Path below the data set's folder, with `/`."""
    rows: int
    row_groups: tuple[int, ...]
    """Rows of each row group, in order."""
    bytes: int
    """Size of the file."""


@dataclass(frozen=True, slots=True)
class Split:
    """One split: its files in stored order."""

    rows: int
    files: tuple[ShardFile, ...]

    @property
    def row_groups(self) -> tuple[int, ...]:
        """Rows of every row group of the split, in stored order."""
        return tuple(rows for file in self.files for rows in file.row_groups)


class Layout(Protocol):
    """How the rows of a data set lie in its shards."""

    @property
    def name(self) -> str:
        """Of the data set, for messages."""
        ...

    @property
    def splits(self) -> Mapping[str, Split]:
        """All splits by name."""
        ...

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Of the array that the `x` of a row holds."""
        ...

    @property
    def dtype(self) -> str:
        """Of its elements: one of `DTYPES`, little-endian."""
        ...

    @property
    def example_bytes(self) -> int:
        """Size of the `x` of a row."""
        ...

    @property
    def labels(self) -> int:
        """Each `y` is in 0..labels-1."""
        ...

    def split(self, name: str) -> Split:
        """One split. Raises DataError for an unknown one, naming those there are."""
        ...


@dataclass(frozen=True)
class Descriptor:
    """What `descriptor.json` says. Frozen, and equal when the JSON is."""

    name: str
    input_shape: tuple[int, ...]
    """Of one example, channels first."""
    dtype: str
    """One of `DTYPES`, little-endian."""
    classes: tuple[str, ...]
    """Class names; label y means `classes[y]`."""
    splits: Mapping[str, Split]
    mean: tuple[float, ...]
    """Per channel (first axis) of the training split, in stored units."""
    std: tuple[float, ...]
    """Per channel of the training split, in stored units; 1.0 for a constant channel, so that one may divide by it."""
    split_seed: int
    split_rule: str
    """In words: where each split comes from."""
    source: str
    """What it was made of, without machine paths."""
    fingerprint: str
    """sha256 over the content in stored order; does not depend on the number of shards or partitions."""
    created_by: str

    @cached_property
    def example_bytes(self) -> int:
        """Size of one decoded example."""
        return math.prod(self.input_shape) * np.dtype(self.dtype).itemsize

    @property
    def row_shape(self) -> tuple[int, ...]:
        """A row is one example."""
        return self.input_shape

    @property
    def labels(self) -> int:
        """A row's y is its class."""
        return len(self.classes)

    def split(self, name: str) -> Split:
        """One split. Raises DataError for an unknown one, naming those there are."""
        return find_split(self, name)

    def to_json(self) -> str:
        """The text of `descriptor.json`."""
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, file: str) -> Descriptor:
        """Parse and check; raises DataError naming `file`, the key and the remedy."""
        return _parse(Fields.of(text, file, FORMAT, FORMAT_VERSION))


def find_split(layout: Layout, name: str) -> Split:
    """One split. Raises DataError for an unknown one, naming those there are."""
    if name not in layout.splits:
        raise DataError(f"split {name!r} is not in data set {layout.name!r}: it has {', '.join(layout.splits)}")
    return layout.splits[name]


def read_descriptor(location: str | Path | DataFolder) -> tuple[str, str]:
    """The text of `LOCATION/descriptor.json`, and its path. Raises DataError when it is missing or unreadable."""
    folder = open_folder(location)
    path = f"{folder.location}/{FILE_NAME}"
    try:
        content = folder.read(FILE_NAME)
        text = None if content is None else content.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); {_REMEDY}") from None
    if text is None:
        if "://" not in folder.location and not Path(folder.location).is_dir():
            raise DataError(f"{folder.location}: no such data folder; give the --output of `spark-nas prepare-data`")
        raise DataError(f"{path}: missing, so the data set is not complete; {_REMEDY}")
    return text, path


def check_files(location: str | Path | DataFolder, descriptor: Layout) -> None:
    """Every shard is there with its size. Raises DataError naming the first that is not."""
    folder = open_folder(location)
    files = [file for split in descriptor.splits.values() for file in split.files]
    try:
        sizes = folder.sizes([file.name for file in files])
    except OSError as error:
        raise DataError(f"{folder.location}: shards cannot be looked at ({reason(error)})") from None
    for file, size in zip(files, sizes, strict=True):
        path = f"{folder.location}/{file.name}"
        if size is None:
            raise DataError(f"{path}: shard is missing; {_REMEDY}")
        if size != file.bytes:
            raise DataError(f"{path}: shard has {size} bytes, the descriptor says {file.bytes}; {_REMEDY}")


class Fields:
    """Typed access to a JSON object; each failure is a DataError that names the file and the key."""

    def __init__(self, document: Mapping[str, object], file: str, prefix: str = "") -> None:
        self.document, self.file, self.prefix = document, file, prefix

    @classmethod
    def of(cls, text: str, file: str, kind: str, version: int) -> Fields:
        """The fields of a descriptor of that format and version."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}: not JSON ({error}); {_REMEDY}") from None
        if not isinstance(document, dict) or document.get("format") != kind:
            raise DataError(f"{file}: not a {kind} descriptor; {_REMEDY}")
        found = document.get("format_version")
        if found != version:
            raise DataError(f"{file}: format_version {found!r} is not {version}, which this release reads; {_REMEDY}")
        return cls(document, file)

    def get(self, key: str, kind: type[T]) -> T:
        """A value of the given type."""
        if key not in self.document:
            raise self.wrong(key, "is missing")
        value = self.document[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.wrong(key, f"is {value!r:.80}, not {kind.__name__}")
        return value

    def items(self, key: str, kind: type[T]) -> tuple[T, ...]:
        """A list of values of the given type."""
        values = self.get(key, list)
        if not all(isinstance(value, kind) and not isinstance(value, bool) for value in values):
            raise self.wrong(key, f"is {values!r:.80}, not a list of {kind.__name__}")
        return tuple(values)

    def below(self, key: str, document: object) -> Fields:
        """The fields of an object in this one."""
        if not isinstance(document, dict):
            raise self.wrong(key, "is not an object")
        return Fields(document, self.file, f"{self.prefix}{key}.")

    def splits(self) -> dict[str, Split]:
        """All splits, checked."""
        return {
            name: _parse_split(self.below(f"splits.{name}", value)) for name, value in self.get("splits", dict).items()
        }

    def wrong(self, key: str, what: str) -> DataError:
        """What is the matter with a key."""
        return DataError(f"{self.file}: {self.prefix}{key} {what}; {_REMEDY}")


def _parse(fields: Fields) -> Descriptor:
    descriptor = Descriptor(
        name=fields.get("name", str),
        input_shape=fields.items("input_shape", int),
        dtype=fields.get("dtype", str),
        classes=fields.items("classes", str),
        splits=fields.splits(),
        mean=fields.items("mean", float),
        std=fields.items("std", float),
        split_seed=fields.get("split_seed", int),
        split_rule=fields.get("split_rule", str),
        source=fields.get("source", str),
        fingerprint=fields.get("fingerprint", str),
        created_by=fields.get("created_by", str),
    )
    if descriptor.dtype not in DTYPES:
        raise fields.wrong("dtype", f"is {descriptor.dtype!r}, not one of {', '.join(DTYPES)}")
    if not descriptor.input_shape or min(descriptor.input_shape) < 1:
        raise fields.wrong("input_shape", f"is {descriptor.input_shape}, not a list of positive sizes")
    if len(descriptor.classes) < 2:
        raise fields.wrong("classes", f"names {len(descriptor.classes)} class, at least 2 are needed")
    for key, values in (("mean", descriptor.mean), ("std", descriptor.std)):
        if len(values) != descriptor.input_shape[0] or not all(map(math.isfinite, values)):
            raise fields.wrong(key, f"is not one finite number for each of {descriptor.input_shape[0]} channels")
    return descriptor


def _parse_split(fields: Fields) -> Split:
    files = []
    for index, value in enumerate(fields.get("files", list)):
        entry = fields.below(f"files[{index}]", value)
        file = ShardFile(
            entry.get("name", str), entry.get("rows", int), entry.items("row_groups", int), entry.get("bytes", int)
        )
        if not _SHARD_NAME.fullmatch(file.name):
            raise entry.wrong("name", f"is {file.name!r}, not SPLIT/FILE.parquet")
        if sum(file.row_groups) != file.rows or min(file.row_groups, default=0) < 1:
            raise entry.wrong("row_groups", f"do not add up to rows {file.rows}")
        files.append(file)
    split = Split(fields.get("rows", int), tuple(files))
    if split.rows < 1 or sum(file.rows for file in files) != split.rows:
        raise fields.wrong("rows", f"is {split.rows}, but the files hold {sum(file.rows for file in files)}")
    return split
