"""Where examples come from: one file a format, and `open_source`, which tells them apart by name."""

from __future__ import annotations

from pathlib import Path

from spark_nas.data.sources.base import Arrays, Raw, Source
from spark_nas.data.sources.cifar_archive import CifarArchive
from spark_nas.data.sources.digits import Digits
from spark_nas.data.sources.encoded_parquet import EncodedParquet
from spark_nas.data.sources.folder import ImageFolder
from spark_nas.data.sources.idx import Idx, find_idx
from spark_nas.data.sources.npz import Npz
from spark_nas.data.sources.text import Text
from spark_nas.errors import DataError

KINDS = "digits, a folder of idx files or of class folders, a .parquet of images, a .tar.gz of CIFAR, or a .npz"


def open_source(spec: str, image_size: int | None = None) -> Source:
    """The source that `spec` names: `digits`, or a path whose kind is told by its name and content.

    Args:
        spec: see `KINDS`.
        image_size: edge in pixels that encoded images are resized to; None keeps their size.

    Raises:
        DataError: there is no such path, its kind is unknown, or there is nothing to resize.
    """
    if image_size is not None and image_size < 1:
        raise DataError(f"image size {image_size}: must be at least 1 pixel")
    source = _source(spec, image_size)
    if image_size is not None and not isinstance(source, ImageFolder | EncodedParquet):
        raise DataError(f"image size {image_size}: only a folder or a .parquet of images is resized; leave it out")
    return source


def _source(spec: str, image_size: int | None) -> Source:
    if spec == "digits":  # a folder of that name is `./digits`
        return Digits()
    path = Path(spec)
    if path.is_dir():
        if find_idx(path, "train-images-idx3-ubyte") is not None:
            return Idx(spec)
        return ImageFolder(spec, image_size)
    if path.is_file():
        if path.suffix == ".parquet":
            return EncodedParquet(spec, image_size)
        if path.suffix == ".npz":
            return Npz(spec)
        if path.name.endswith((".tar.gz", ".tgz", ".tar")):
            return CifarArchive(spec)
        raise DataError(f"{spec}: unknown kind of source; give {KINDS}")
    raise DataError(f"{spec}: no such file or folder; give {KINDS}")


__all__ = [
    "KINDS",
    "Arrays",
    "CifarArchive",
    "Digits",
    "EncodedParquet",
    "Idx",
    "ImageFolder",
    "Npz",
    "Raw",
    "Source",
    "Text",
    "open_source",
]
