"""scikit-learn's handwritten digits: 1,797 images of 1x8x8, grey values 0..16, ten classes. No download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from spark_nas.data.sources.base import Arrays, Raw
from spark_nas.errors import DataError


@dataclass(frozen=True)
class Digits:
    """The raw values 0..16 are kept; `prepare` splits them, for the set has no test split of its own."""

    def read(self) -> Raw:
        """Load it. Raises DataError when scikit-learn is not installed."""
        try:
            from sklearn.datasets import load_digits  # type: ignore[import-untyped]
        except ImportError:
            raise DataError("digits: scikit-learn is not installed; pip install scikit-learn") from None
        bunch = load_digits()
        x = bunch.images.astype(np.uint8)[:, None]
        names = tuple(str(digit) for digit in range(10))
        arrays = Arrays(x, bunch.target.astype(np.int64))
        return Raw("digits", "digits", "scikit-learn load_digits", names, {"train": arrays})
