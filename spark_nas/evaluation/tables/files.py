"""Opening table files: every way it can go wrong is one clear line."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from spark_nas.errors import DataError, OptionError

Kind = Literal["numbers", "whole numbers", "texts"]
_KINDS = {"numbers": "fiu", "whole numbers": "iu", "texts": "U"}
"""In numpy's letters."""


class TableFile:
    """An .npz of plain arrays, read one by one. Arrays of objects are refused, so that nothing is unpickled.

    Every failure is a DataError that names the file.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            archive = np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise DataError(f"{path}: there is no such file; give the path of the table's .npz") from None
        except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"{path}: not an .npz of plain arrays: {error}") from None
        if not isinstance(archive, NpzFile):
            raise DataError(f"{path}: a single array, not an .npz with the arrays of the table")
        self._archive = archive

    def __enter__(self) -> TableFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._archive.close()

    def tasks(self, array: str) -> list[str]:
        """Every TASK for which there is an array `TASK/array`."""
        names = (key.rpartition("/") for key in self._archive.files)
        return [task for task, _, name in names if name == array]

    def array(self, key: str, kind: Kind, *shape: int | str) -> NDArray[Any]:  # Any: the loaders convert at once
        """The array of that name, of that kind and shape; a letter in the shape stands for any length but 0."""
        if key not in self._archive.files:
            raise DataError(f"{self.path}: has no array {key!r}; is it another table's file?")
        try:
            array = np.asarray(self._archive[key])
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"{self.path}: {key}: not a plain array: {error}") from None
        fits = len(array.shape) == len(shape) and all(
            length > 0 if isinstance(wanted, str) else length == wanted
            for length, wanted in zip(array.shape, shape, strict=True)
        )
        if not fits or array.dtype.kind not in _KINDS[kind]:
            wanted = f"{kind} [{', '.join(map(str, shape))}]"
            raise DataError(f"{self.path}: {key}: is {array.dtype} {list(array.shape)}, and must be {wanted}")
        return array


def task_of(task: str | None, tasks: Iterable[str]) -> str:
    """The task asked for, or an OptionError that names those there are."""
    known = sorted(tasks)
    if task is None or task not in known:
        raise OptionError("task", task, f"must be one of {', '.join(known)}")
    return task
