"""Seeded, stratified splitting and the global shuffle: which source row goes where, before anything is written."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spark_nas.data.sources.base import SPLITS, Arrays, Raw
from spark_nas.errors import DataError
from spark_nas.search.records import derive_seed


@dataclass(frozen=True)
class SplitPlan:
    """The rows of every split, in the order they are written."""

    splits: dict[str, tuple[Arrays, NDArray[np.int64]]]
    """For each split the source's arrays and the rows to take from them."""
    rule: str
    """The same in words, for the descriptor."""


def plan_splits(raw: Raw, seed: int, valid_fraction: float, test_fraction: float) -> SplitPlan:
    """Decide all splits: the source's own are kept; a missing test, then a missing valid, is carved from train.

    Args:
        raw: the source.
        seed: of the carving and of the global shuffle.
        valid_fraction: share of the source's training rows that become `valid`, when the source has none.
        test_fraction: the same for `test`.

    Raises:
        DataError: a fraction is out of range or leaves a split without rows or train without a class.
    """
    train = raw.splits["train"]
    rest = np.arange(len(train.y))
    chosen: dict[str, tuple[Arrays, NDArray[np.int64]]] = {}
    rules = []
    for split, fraction in (("test", test_fraction), ("valid", valid_fraction)):
        if split in raw.splits:
            chosen[split] = (raw.splits[split], np.arange(len(raw.splits[split].y)))
            rules.append(f"{split}: the source's own")
            continue
        count = _count(raw.where, split, fraction, len(train.y), len(rest))
        carved = carve(train.y, rest, count, derive_seed("carve", split, seed))
        rest = np.setdiff1d(rest, carved, assume_unique=True)
        chosen[split] = (train, carved)
        rules.append(
            f"{split}: {len(carved)} rows of the source's train ({fraction:g}), stratified by class, seed {seed}"
        )
    if len(np.unique(train.y[rest])) < len(np.unique(train.y)):
        raise DataError(f"{raw.where}: a class has too few rows to be split; give it more, or choose smaller fractions")
    chosen["train"] = (train, rest)
    rules.append("train: the rest; each split shuffled globally by the same seed")
    shuffled = {}
    for split in SPLITS:
        arrays, rows = chosen[split]
        shuffled[split] = (arrays, np.random.default_rng(derive_seed("shuffle", split, seed)).permutation(rows))
    return SplitPlan(shuffled, "; ".join(rules))


def _count(where: str, split: str, fraction: float, rows: int, left: int) -> int:
    """How many of `rows` rows a split gets. Raises DataError when that is none, or all that are left."""
    count = round(fraction * rows) if 0 < fraction < 1 else 0
    if not 0 < count < left:
        raise DataError(
            f"{where}: split {split!r} would get {fraction:g} of {rows} rows, of which {left} are left; "
            "choose another fraction"
        )
    return count


def carve(y: NDArray[np.int64], rows: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """`count` of `rows`, sorted: drawn without replacement, each class by its share (largest remainders)."""
    rng = np.random.default_rng(seed)
    labels, sizes = np.unique(y[rows], return_counts=True)
    shares = count * sizes / max(1, len(rows))
    quotas = np.floor(shares).astype(np.int64)
    largest = np.argsort(quotas - shares, kind="stable")[: max(0, count - int(quotas.sum()))]
    quotas[largest] += 1
    drawn = [rng.permutation(rows[y[rows] == label])[:quota] for label, quota in zip(labels, quotas, strict=True)]
    return np.sort(np.concatenate(drawn)) if drawn else rows[:0]
