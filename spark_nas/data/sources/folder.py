"""Images in a folder for each class: `ROOT/CLASS/*.png`, or `ROOT/{train,valid,test}/CLASS/*.png`.

The classes are the folders' names, sorted; the files are read sorted, so a folder gives the same data everywhere. All
become colour where any of them is: grey images among them have three equal channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.sources.base import SPLITS, Arrays, Raw, check_size
from spark_nas.data.sources.images import decode_image, is_grey
from spark_nas.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images."""

    folder: str
    image_size: int | None = None
    """Edge in pixels of the square every image is resized to; None: all must have one size already."""

    def read(self) -> Raw:
        """Decode everything. Raises DataError naming the image that is corrupt or of another size."""
        root = Path(self.folder)
        if not root.is_dir():
            raise DataError(f"{root}: no such folder")
        roots = {split: root / split for split in SPLITS if (root / split).is_dir()} or {"train": root}
        train = roots.get("train")
        if train is None:
            raise DataError(f"{root}: has {', '.join(roots)} but no train folder")
        classes = _folders(train)
        if len(classes) < 2:
            raise DataError(f"{train}: {len(classes)} class folder; expected at least 2 folders, one for each class")
        for place in roots.values():
            if _folders(place) != classes:
                raise DataError(
                    f"{place}: its classes are not those of train: {', '.join(set(_folders(place)) ^ set(classes))}"
                )
        files = {split: _files(place, classes) for split, place in roots.items()}
        grey = all(is_grey(path, str(path)) for of_split in files.values() for path, _ in of_split)
        shape: tuple[int, ...] | None = None
        splits = {}
        for split, of_split in files.items():
            splits[split] = self._split(of_split, 1 if grey else 3, shape)
            shape = splits[split].x.shape[1:]
        return Raw(root.absolute().name, self.folder, "folder of images for each class", classes, splits)

    def _split(self, files: list[tuple[Path, int]], channels: int, shape: tuple[int, ...] | None) -> Arrays:
        if shape is None:
            shape = self._decode(files[0][0], channels).shape
        check_size(self.folder, len(files), int(np.prod(shape)))
        x = np.empty((len(files), *shape), np.uint8)
        for row, (path, _) in enumerate(files):
            image = self._decode(path, channels)
            if image.shape != shape:
                raise DataError(
                    f"{path}: image of {image.shape}, the first is {shape}; give --image-size to resize them"
                )
            x[row] = image
        return Arrays(x, np.array([label for _, label in files], np.int64))

    def _decode(self, path: Path, channels: int) -> NDArray[np.uint8]:
        return decode_image(path.read_bytes(), str(path), channels, self.image_size)


def _files(place: Path, classes: tuple[str, ...]) -> list[tuple[Path, int]]:
    """The images of a split with their labels."""
    return [(path, label) for label, name in enumerate(classes) for path in _images(place / name)]


def _folders(place: Path) -> tuple[str, ...]:
    return tuple(sorted(path.name for path in place.iterdir() if path.is_dir() and not path.name.startswith(".")))


def _images(place: Path) -> list[Path]:
    found = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise DataError(f"{place}: no images in the folder of this class ({', '.join(SUFFIXES)})")
    return found
