"""Decoding of one encoded image (PNG, JPEG, ...) to channels-first bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spark_nas.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

_MODES = {1: "L", 3: "RGB"}


def is_grey(file: Path | IO[bytes], where: str) -> bool:
    """Whether an image has grey values only, by its header: nothing is decoded. Raises DataError as `decode_image`."""
    with _opened(file, where) as image:
        return image.mode in ("1", "L")


def decode_image(content: bytes, where: str, channels: int, size: int | None = None) -> NDArray[np.uint8]:
    """An image as [C, H, W] uint8.

    Args:
        content: the encoded file.
        where: named in errors.
        channels: 1 (grey) or 3 (RGB); a set has 1 where all of its images are grey (`is_grey`).
        size: edge in pixels of the square the image is resized to (bilinear); None keeps its size.

    Raises:
        DataError: Pillow cannot decode it, or its values are of more than 8 bits.
    """
    with _opened(io.BytesIO(content), where) as opened:
        from PIL.Image import Resampling

        image = opened.convert(_MODES[channels])
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Resampling.BILINEAR)
        pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


@contextmanager
def _opened(file: Path | IO[bytes], where: str) -> Iterator[Image]:
    """The image, not decoded yet; what goes wrong with it inside is a DataError."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"{where}: Pillow is not installed; pip install pillow") from None
    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):  # Pillow cuts such values off at 255
                raise DataError(
                    f"{where}: its values have more than 8 bits (mode {image.mode}); "
                    "convert the images to 8 bits, or give their values as a .npz"
                )
            yield image
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: not a readable image ({error}); repair or remove it") from None
