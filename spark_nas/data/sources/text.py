"""Any text as streams of tokens: one file, or one for each split, plain or compressed, in a folder or in a .zip.

Words are what white space parts, and each line ends in `<eos>`, as Mikolov's Penn Treebank is read; or a token is a
character, line ends among them (LF; CR LF is one). Files are read line by line, so their text is never held as a whole:
a token costs 4 bytes.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zipfile
import zlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.folder import reason
from spark_nas.data.sources.base import MAX_BYTES, SPLITS
from spark_nas.data.text_descriptor import LEVELS
from spark_nas.errors import DataError

EOS = "<eos>"
"""The word at the end of each line."""
_MAX_TEXT = MAX_BYTES // 4
"""Most bytes of text: no text has more tokens than bytes, and each token takes four."""
_OPENERS: Mapping[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}

_NAME_END = re.compile(rf"(?:^|[-_.])(?:{'|'.join(SPLITS)})(?:[-_.]|$)|\.")


class TextFile(NamedTuple):
    """One text, wherever it lies."""

    path: Path
    member: str | None = None
    """Of a .zip."""

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path}: {self.member}"

    @property
    def name(self) -> str:
        """Its own, without folders."""
        return self.path.name if self.member is None else PurePosixPath(self.member).name

    @property
    def splits(self) -> list[str]:
        """Those that its name speaks of."""
        return [split for split in SPLITS if split in self.name.lower()]

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """Its bytes, unpacked."""
        if self.member is None:
            with _OPENERS.get(self.path.suffix, open)(self.path, "rb") as stream:
                yield stream
        else:
            with zipfile.ZipFile(self.path) as archive, archive.open(self.member) as stream:
                yield stream


@dataclass(frozen=True)
class RawText:
    """A tokenised source: for each split the numbers of its tokens in `kinds`."""

    name: str
    """Short name of the data set."""
    where: str
    """The files, for messages; not stored."""
    description: str
    """What goes into the descriptor: no machine paths."""
    level: str
    kinds: tuple[str, ...]
    """All different tokens of all splits, in the order in which they come."""
    splits: Mapping[str, NDArray[np.int32]]
    """`train`, and `valid` and `test` where the source has them itself."""


@dataclass(frozen=True)
class Text:
    """Such files. Raises DataError for an unknown level."""

    paths: tuple[str, ...]
    """One text; or the files of the splits, told by `train`, `valid` and `test` in their names; or a folder or a .zip
    of such."""
    level: str = "word"
    """One of `LEVELS`."""

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise DataError(f"level {self.level!r}: give one of {', '.join(LEVELS)}")
        if not self.paths:
            raise DataError(
                "text: no file named; give one text, three with train, valid, test in their names, or a .zip"
            )

    def files(self) -> dict[str, TextFile]:
        """Which file is which split; nothing is read. Raises DataError when that cannot be told."""
        files = [file for path in self.paths for file in _files(Path(path))]
        return {"train": files[0]} if len(files) == 1 else _by_split(files)

    def read(self) -> RawText:
        """Tokenise it whole. Raises DataError naming the file that is missing, empty, damaged or not UTF-8."""
        of_split = self.files()
        numbers: dict[str, int] = {}
        # The training text first: so its tokens are numbered in the order in which they come there.
        splits = {split: self._tokens(of_split[split], numbers) for split in SPLITS if split in of_split}
        names = [file.name for file in of_split.values()]
        where = ", ".join(self.paths)
        return RawText(
            _name(Path(self.paths[0]).absolute()),
            where,
            f"text of {', '.join(names)}",
            self.level,
            tuple(numbers),
            splits,
        )

    def _tokens(self, file: TextFile, numbers: dict[str, int]) -> NDArray[np.int32]:
        """The numbers of a file's tokens; new ones get the next number."""
        found = array("i")
        for line in _lines(file):
            units = [*line.split(), EOS] if self.level == "word" else line
            found.extend([numbers.setdefault(unit, len(numbers)) for unit in units])
        if not found:
            raise DataError(f"{file}: is empty; give a file that holds text")
        return np.frombuffer(found, np.int32)


def _name(path: Path) -> str:
    """A short name: `ptb` of ptb.zip, ptb.train.txt, ptb-train.txt, ptb/train.txt and the folder ptb."""
    return _NAME_END.split(path.name, maxsplit=1)[0] or path.parent.name


def _lines(file: TextFile) -> Iterator[str]:
    """The lines of a file with their ends."""
    left = _MAX_TEXT
    number = 0
    try:
        with file.open() as stream:
            while line := stream.readline(left + 1):
                left, number = left - len(line), number + 1
                if left < 0:
                    raise DataError(f"{file}: more than {_MAX_TEXT:,} bytes of text; give a part of it")
                yield line.decode("utf-8-sig" if number == 1 else "utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: line {number} is not UTF-8 ({error.reason}); convert the file to it") from None
    # A zip with a password is a RuntimeError, and one that is packed in an unknown way a NotImplementedError.
    except (OSError, EOFError, RuntimeError, lzma.LZMAError, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{file}: cannot be read ({reason(error)}); mend or unpack it") from None


def _files(path: Path) -> list[TextFile]:
    """The texts at a path; of several in a folder or a .zip those named for a split, as the rest is not text."""
    if path.is_dir():
        files = [TextFile(entry) for entry in sorted(path.iterdir()) if entry.is_file()]
    elif not path.is_file():
        raise DataError(f"{path}: no such file or folder; give the text to prepare")
    elif path.suffix != ".zip":
        return [TextFile(path)]
    else:
        files = _members(path)
    files = [file for file in files if not file.name.startswith(".")]
    chosen = files if len(files) == 1 else [file for file in files if file.splits]
    if not chosen:
        raise DataError(f"{path}: holds no text; give one file, or files with train, valid and test in their names")
    return chosen


def _members(path: Path) -> list[TextFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            return [TextFile(path, entry.filename) for entry in archive.infolist() if not entry.is_dir()]
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not a readable .zip ({reason(error)}); mend it or give the files in it") from None


def _by_split(files: list[TextFile]) -> dict[str, TextFile]:
    """Which file is which split, by their names."""
    found: dict[str, TextFile] = {}
    for file in files:
        if len(file.splits) != 1:
            raise DataError(f"{file}: of several files each must have train, valid or test in its name, and only one")
        (split,) = file.splits
        if split in found:
            raise DataError(f"{file}: is a second {split!r} beside {found[split].name}; give one file for each split")
        found[split] = file
    if "train" not in found:
        raise DataError(f"{files[0]}: no file beside it has train in its name; give the training text too")
    return found
