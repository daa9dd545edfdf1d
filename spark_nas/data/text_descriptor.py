"""The descriptor of a text: one stream of tokens a split, and the vocabulary in a JSON file beside it.

    OUTPUT/descriptor.json                 format "spark_nas.text"; written last
    OUTPUT/descriptor.vocabulary.json      a list: token i is the text of number i; 0 is `<unk>`
    OUTPUT/SPLIT/part-00000.parquet ...    columns x (fixed-size binary), y (int64), id (int64)

A row is a chunk of the stream: `x` holds `chunk` tokens as little-endian int32, `y` says how many of them count (all,
but in the last row of a split, which is filled up with zeros), and `id` is the chunk's position. So the shards lie and
are read as those of examples are (`descriptor`), and a lost chunk is noticed by the same checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from spark_nas.data.descriptor import Descriptor, Fields, Split, find_split, read_descriptor
from spark_nas.data.folder import DataFolder, reason
from spark_nas.errors import DataError

FORMAT = "spark_nas.text"
FORMAT_VERSION = 1
VOCABULARY = "descriptor.vocabulary.json"
UNKNOWN = "<unk>"
"""Stands for whatever is not in the vocabulary; number 0."""
LEVELS = ("word", "character")
"""What a token may be."""

_TOKEN_BYTES = 4
_REMEDY = "prepare the data again with `spark-nas prepare-data`"


@dataclass(frozen=True)
class TextDescriptor:
    """What the `descriptor.json` of a text says. Frozen, and equal when the JSON is."""

    name: str
    level: str
    """One of `LEVELS`."""
    vocabulary: int
    """Number of different tokens, `<unk>` included."""
    vocabulary_sha256: str
    """Of the vocabulary file."""
    chunk: int
    """Tokens of a row."""
    tokens: Mapping[str, int]
    """Of each split."""
    unknown: Mapping[str, int]
    """How many tokens of each split are `<unk>`."""
    splits: Mapping[str, Split]
    split_rule: str
    """In words: where each split comes from."""
    source: str
    """What it was made of, without machine paths."""
    fingerprint: str
    """sha256 over vocabulary and tokens; does not depend on the number of shards or the length of a chunk."""
    created_by: str

    @property
    def row_shape(self) -> tuple[int, ...]:
        """A row is a chunk."""
        return (self.chunk,)

    @property
    def dtype(self) -> str:
        """Of a token."""
        return "int32"

    @property
    def example_bytes(self) -> int:
        """Size of a chunk."""
        return self.chunk * _TOKEN_BYTES

    @property
    def labels(self) -> int:
        """A row's y is how many of its tokens count."""
        return self.chunk + 1

    def split(self, name: str) -> Split:
        """One split. Raises DataError for an unknown one, naming those there are."""
        return find_split(self, name)

    def to_json(self) -> str:
        """The text of `descriptor.json`."""
        return json.dumps({"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, file: str) -> TextDescriptor:
        """Parse and check; raises DataError naming `file`, the key and the remedy."""
        fields = Fields.of(text, file, FORMAT, FORMAT_VERSION)
        descriptor = cls(
            name=fields.get("name", str),
            level=fields.get("level", str),
            vocabulary=fields.get("vocabulary", int),
            vocabulary_sha256=fields.get("vocabulary_sha256", str),
            chunk=fields.get("chunk", int),
            tokens=_counts(fields, "tokens"),
            unknown=_counts(fields, "unknown"),
            splits=fields.splits(),
            split_rule=fields.get("split_rule", str),
            source=fields.get("source", str),
            fingerprint=fields.get("fingerprint", str),
            created_by=fields.get("created_by", str),
        )
        _check(descriptor, fields)
        return descriptor


def load_any(location: str | Path | DataFolder) -> Descriptor | TextDescriptor:
    """The descriptor of a data set of whichever kind. Raises DataError when it is missing or unusable."""
    text, path = read_descriptor(location)
    kind = TextDescriptor if _format(text) == FORMAT else Descriptor
    return kind.from_json(text, path)


def vocabulary_json(vocabulary: tuple[str, ...]) -> str:
    """The text of the vocabulary file: one token a line."""
    return json.dumps(vocabulary, indent=0) + "\n"


def vocabulary_digest(text: str) -> str:
    """What a descriptor says of the vocabulary file."""
    return hashlib.sha256(text.encode()).hexdigest()


def read_vocabulary(folder: DataFolder, descriptor: TextDescriptor) -> tuple[str, ...]:
    """All tokens, by their numbers. Raises DataError when the file is missing, or not what the descriptor says."""
    path = f"{folder.location}/{VOCABULARY}"
    try:
        content = folder.read(VOCABULARY)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({reason(error)}); {_REMEDY}") from None
    if content is None:
        raise DataError(f"{path}: missing, so the data set is not complete; {_REMEDY}")
    if hashlib.sha256(content).hexdigest() != descriptor.vocabulary_sha256:
        raise DataError(f"{path}: not the vocabulary that the descriptor names; {_REMEDY}")
    try:
        vocabulary = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not JSON ({error}); {_REMEDY}") from None
    if not isinstance(vocabulary, list) or len(vocabulary) != descriptor.vocabulary:
        raise DataError(f"{path}: not a list of the {descriptor.vocabulary} tokens of the descriptor; {_REMEDY}")
    return tuple(map(str, vocabulary))


def _format(text: str) -> object:
    """The format that a document claims to be of; None when it is no document at all."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document.get("format") if isinstance(document, dict) else None


def _counts(fields: Fields, key: str) -> dict[str, int]:
    counts = fields.below(key, fields.get(key, dict))
    return {split: counts.get(split, int) for split in counts.document}


def _check(descriptor: TextDescriptor, fields: Fields) -> None:
    if descriptor.level not in LEVELS:
        raise fields.wrong("level", f"is {descriptor.level!r}, not one of {', '.join(LEVELS)}")
    if descriptor.vocabulary < 2:
        raise fields.wrong("vocabulary", f"is {descriptor.vocabulary}, at least 2 are needed")
    if descriptor.chunk < 1:
        raise fields.wrong("chunk", f"is {descriptor.chunk}, not a positive number of tokens")
    for key, counts in (("tokens", descriptor.tokens), ("unknown", descriptor.unknown)):
        if set(counts) != set(descriptor.splits):
            raise fields.wrong(key, f"names {', '.join(counts)}, the splits are {', '.join(descriptor.splits)}")
    for name, split in descriptor.splits.items():
        tokens, unknown = descriptor.tokens[name], descriptor.unknown[name]
        if not (split.rows - 1) * descriptor.chunk < tokens <= split.rows * descriptor.chunk:
            raise fields.wrong(f"tokens.{name}", f"is {tokens}, but there are {split.rows} chunks")
        if not 0 <= unknown <= tokens:
            raise fields.wrong(f"unknown.{name}", f"is {unknown} of {tokens}")
