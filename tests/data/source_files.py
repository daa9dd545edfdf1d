"""Writes small files of every kind that `prepare-data` takes, in their published layouts."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def images(rows: int, seed: int, channels: int = 1, edge: int = 6) -> NDArray[np.uint8]:
    """Random images [rows, channels, edge, edge]; no two alike."""
    return np.random.default_rng(seed).integers(0, 256, (rows, channels, edge, edge), dtype=np.uint8)


def labels(rows: int, classes: int) -> NDArray[np.int64]:
    """Every class in turn."""
    return np.arange(rows, dtype=np.int64) % classes


def write_idx(path: Path, values: NDArray[np.uint8]) -> None:
    """One idx file of unsigned bytes, gzipped when the name says so."""
    head = struct.pack(">HBB", 0, 8, values.ndim) + struct.pack(f">{values.ndim}I", *values.shape)
    content = head + values.tobytes()
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)


def write_mnist(folder: Path, train: NDArray[np.uint8], test: NDArray[np.uint8], suffix: str = "") -> Path:
    """The four files; x [rows, H, W], labels 0..9 in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, x in (("train", train), ("t10k", test)):
        write_idx(folder / f"{stem}-images-idx3-ubyte{suffix}", x)
        write_idx(folder / f"{stem}-labels-idx1-ubyte{suffix}", labels(len(x), 10).astype(np.uint8))
    return folder


def write_tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A .tar.gz of files."""
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def cifar_records(x: NDArray[np.uint8], *label_bytes: NDArray[np.int64]) -> bytes:
    """Records of label bytes and 3,072 pixel bytes."""
    columns = [y.astype(np.uint8)[:, None] for y in label_bytes]
    return np.concatenate([*columns, x.reshape(len(x), -1)], axis=1).tobytes()


def write_cifar10(path: Path, train: NDArray[np.uint8], test: NDArray[np.uint8]) -> Path:
    """`cifar-10-binary.tar.gz`: five batches, a test batch and the names; labels 0..9 in turn."""
    parts = np.array_split(np.arange(len(train)), 5)
    y = labels(len(train), 10)
    batches = {f"data_batch_{i}.bin": cifar_records(train[part], y[part]) for i, part in enumerate(parts, 1)}
    members = {
        **batches,
        "test_batch.bin": cifar_records(test, labels(len(test), 10)),
        "batches.meta.txt": b"airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n",
        "readme.html": b"<html>",
    }
    return write_tar(path, {f"cifar-10-batches-bin/{name}": content for name, content in members.items()})


def write_image_folder(root: Path, x: NDArray[np.uint8], classes: Sequence[str], suffix: str = ".png") -> Path:
    """`ROOT/CLASS/0007.png`: the images shared out to the classes in turn."""
    for row, image in enumerate(x):
        folder = root / classes[row % len(classes)]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(folder / f"{row:04d}{suffix}")
    return root


def png(image: NDArray[np.generic]) -> bytes:
    """An image [C, H, W] as a PNG file; grey values may have 16 bits."""
    buffer = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()
