"""The published pickle-free archives `cifar-10-binary.tar.gz` and `cifar-100-binary.tar.gz` (Krizhevsky's page).

A record is its label bytes (CIFAR-10: one; CIFAR-100: coarse, then fine) and 3x32x32 bytes, channels first. The archive
is read member by member; nothing is ever extracted to disk, so no path in it matters.
"""

from __future__ import annotations

import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from spark_nas.data.sources.base import Arrays, Raw
from spark_nas.errors import DataError

_SHAPE = (3, 32, 32)
_PIXELS = 3 * 32 * 32
_TRAIN_10 = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_MEMBER_LIMIT = 200 << 20
"""No member of the real archives is larger than 154 MB; more is not one of them."""


@dataclass(frozen=True)
class CifarArchive:
    """One of the two archives; which one is told by its members."""

    path: str

    def read(self) -> Raw:
        """Read it whole. Raises DataError naming the archive and a missing or damaged member."""
        members = self._members()
        fine = "train.bin" in members
        name, label_bytes = ("cifar100", 2) if fine else ("cifar10", 1)
        names_file = "fine_label_names.txt" if fine else "batches.meta.txt"
        parts: dict[str, tuple[str, ...]] = {
            "train": ("train.bin",) if fine else _TRAIN_10,
            "test": ("test.bin",) if fine else ("test_batch.bin",),
        }
        splits = {
            split: self._records(b"".join(self._member(members, file) for file in files), label_bytes)
            for split, files in parts.items()
        }
        classes = tuple(self._member(members, names_file).decode("utf-8", "replace").split())
        return Raw(name, self.path, f"{name} binary archive", classes, splits)

    def _members(self) -> dict[str, bytes]:
        found = {}
        try:
            with tarfile.open(self.path, "r:*") as archive:
                for member in archive:
                    file = PurePosixPath(member.name).name
                    if member.isfile() and file.endswith((".bin", ".txt")):
                        if member.size > _MEMBER_LIMIT:
                            raise DataError(f"{self.path}: member {file} has {member.size} bytes: not a CIFAR archive")
                        handle = archive.extractfile(member)
                        found[file] = handle.read() if handle else b""
        except FileNotFoundError:
            raise DataError(f"{self.path}: no such file") from None
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise DataError(f"{self.path}: damaged archive ({error}); fetch {Path(self.path).name} again") from None
        return found

    def _member(self, members: dict[str, bytes], file: str) -> bytes:
        if file not in members:
            raise DataError(
                f"{self.path}: no member {file}: expected cifar-10-binary.tar.gz or cifar-100-binary.tar.gz"
            )
        return members[file]

    def _records(self, content: bytes, label_bytes: int) -> Arrays:
        size = label_bytes + _PIXELS
        if len(content) % size:
            raise DataError(
                f"{self.path}: {len(content)} bytes of records are no multiple of {size}: the archive is damaged"
            )
        records = np.frombuffer(content, np.uint8).reshape(-1, size)
        return Arrays(records[:, label_bytes:].reshape(-1, *_SHAPE), records[:, label_bytes - 1].astype(np.int64))
