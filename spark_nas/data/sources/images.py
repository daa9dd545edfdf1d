"""Decoding of one encoded image (PNG, JPEG, ...) to channels-first bytes."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from spark_nas.errors import DataError

_MODES = {1: "L", 3: "RGB"}


def decode_image(content: bytes, where: str, channels: int | None = None, size: int | None = None) -> NDArray[np.uint8]:
    """An image as [C, H, W] uint8.

    Args:
        content: the encoded file.
        where: named in errors.
        channels: 1 (grey) or 3 (RGB); None: grey stays grey, everything else becomes RGB.
        size: edge in pixels of the square the image is resized to (bilinear); None keeps its size.

    Raises:
        DataError: Pillow cannot decode it.
    """
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"{where}: Pillow is not installed; pip install pillow") from None
    try:
        with Image.open(io.BytesIO(content)) as opened:
            grey = channels == 1 or (channels is None and opened.mode in ("1", "L"))
            image = opened.convert(_MODES[1 if grey else 3])
        if size is not None and image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: not a readable image ({error}); repair or remove it") from None
    pixels = np.asarray(image, dtype=np.uint8)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
