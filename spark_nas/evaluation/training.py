"""Training a trial for real: the evaluator that `evaluator: {name: training}` stands for.

Defaults are those of the DARTS evaluation (Liu et al. 2019, section 3.1), but for its augmentation, drop-path
and auxiliary head, which suit CIFAR images and are off until asked for.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from spark_nas.errors import DataError, OptionError
from spark_nas.search.protocols import Dataset
from spark_nas.search.records import Recipe
from spark_nas.spaces.core import SearchSpace

if TYPE_CHECKING:
    from spark_nas.evaluation.evaluator import TrainingEvaluator

RECIPE_KEYS = frozenset(
    {
        "optimizer",
        "learning_rate",
        "minimum_learning_rate",
        "schedule",
        "decay",
        "hold",
        "restart",
        "warmup",
        "momentum",
        "nesterov",
        "weight_decay",
        "batch_size",
        "ghost_batch",
        "label_smoothing",
        "clip_norm",
        "crop_padding",
        "flip",
        "cutout",
        "drop_path",
        "auxiliary_weight",
        "horizon",
        "non_monotone",
        "bptt",
        "variable_bptt",
    }
)
"""The options below that a trial's recipe may override."""


@dataclass(frozen=True)
class Training:
    """How trials are trained and judged; a trial's recipe overrides the options in `RECIPE_KEYS`."""

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop", "averaged_sgd"] = "sgd"
    learning_rate: float = 0.025
    """At its highest."""
    minimum_learning_rate: float = 0.0
    """Where the cosine ends."""
    schedule: Literal["cosine", "cosine_restarts", "exponential", "step", "constant"] = "cosine"
    """Over the scheduler's max_resource, updated every batch, however a trial is cut into rungs."""
    milestones: tuple[float, ...] = (0.3, 0.6, 0.8)
    """Of the step schedule: parts of max_resource (epochs 60, 120 and 160 of 200) at which the rate is cut."""
    decay: float = 0.2
    """What the rate is multiplied by: at each milestone, or in the exponential schedule at the end of each epoch."""
    hold: int = 0
    """Of the exponential schedule: epochs at the full rate, before it falls (to `minimum_learning_rate` at least)."""
    restart: int = 10
    """Of cosine_restarts: epochs of the first cosine; each is twice as long as the one before."""
    warmup: float = 0.0
    """Epochs over which the rate rises linearly from a tenth."""
    momentum: float = 0.9
    """Of SGD and RMSprop; for Adam and AdamW it is beta 1."""
    nesterov: bool = False
    """Of SGD; without effect at momentum 0."""
    weight_decay: float = 3e-4
    """On all parameters: as L2 in the gradient, decoupled in AdamW."""
    batch_size: int = 96
    ghost_batch: int = 0
    """Examples that batch norms normalise together while training, at least; 0 stands for the whole batch. Small groups
    regularise large batches, and supernets (ghost batch norm: Hoffer, Hubara and Soudry, NIPS 2017, section 4)."""
    label_smoothing: float = 0.0
    clip_norm: float = 5.0
    """Largest L2 norm of the whole gradient; 0 does not clip."""
    crop_padding: int = 0
    """Random crops of images padded by so many pixels (CIFAR: 4); 0 does not crop."""
    flip: bool = False
    """Whether images are mirrored at random."""
    cutout: int = 0
    """Side in pixels of the square cut out of each image (CIFAR: 16); 0 cuts nothing."""
    drop_path: float = 0.0
    """Probability of dropping a path, reached linearly over max_resource (DARTS: 0.2)."""
    auxiliary_weight: float = 0.0
    """Weight of the auxiliary head's loss in networks that have one (DARTS: 0.4)."""
    non_monotone: int = 5
    """Of averaged SGD: it averages from where the watched loss is worse than the best of all but so many epochs."""
    bptt: int = 35
    """Tokens of a text over which the gradient is propagated back at a time."""
    variable_bptt: bool = False
    """Whether these windows vary in length while training, as in AWD-LSTM."""
    horizon: int = 0
    """Epochs that the schedules of learning rate and drop-path span; 0 stands for the scheduler's max_resource."""
    objective: Literal["error", "loss"] = "error"
    """What a trial is ranked by, on the validation split: share of wrong answers, or cross-entropy."""
    evaluation_batch_size: int = 1000
    """Examples at a time when a split is only measured: a matter of memory alone, but for `shared_norm: batch`."""
    score_batches: int = 10
    """Validation minibatches on which an architecture is first scored with shared weights; 0 takes the whole split."""
    score_batch_size: int = 64
    """Examples (columns of text) in each of them, and in those of the whole split."""
    shared_norm: Literal["batch", "running"] = "batch"
    """What batch norms of a supernet go by when it is measured: each batch, or the running statistics of all paths."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the forward pass (autocast); weights and loss stay float32."""
    channels_last: bool = False
    """Memory layout of images; faster on most GPUs."""
    deterministic: bool = True
    """Use torch's deterministic algorithms only: the same seed gives the same bits on the same device."""

    def __post_init__(self) -> None:
        for name, requirement, holds in _CHECKS:
            if not holds(getattr(self, name)):
                raise OptionError(name, getattr(self, name), f"must be {requirement}")
        if self.minimum_learning_rate > self.learning_rate:
            raise OptionError("minimum_learning_rate", self.minimum_learning_rate, "must not exceed learning_rate")

    def with_recipe(self, recipe: Recipe) -> Training:
        """These options, overridden by a recipe; its other keys belong to the space.

        Raises OptionError for a value of the wrong type or out of range.
        """
        chosen = {name: _as_type_of(name, getattr(self, name), recipe[name]) for name in RECIPE_KEYS & recipe.keys()}
        return dataclasses.replace(self, **chosen)

    def check_recipe(self, recipe: Mapping[str, object], space_keys: Collection[str]) -> None:
        """Raise OptionError for a recipe key that neither the space nor the training knows, naming the nearest."""
        known = sorted({*RECIPE_KEYS, *space_keys})
        for name, value in recipe.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, 1)
                remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
                raise OptionError(f"recipe.{name}", value, f"neither the space nor the training has it: {remedy}")

    def build(self, space: SearchSpace, dataset: Dataset | None, max_resource: int) -> TrainingEvaluator:
        """The evaluator of a search: trains on `train`, judges on `valid`, never sees `test`."""
        return self._evaluator(space, dataset, max_resource, train_on=("train",), watch="valid", report="valid")

    def build_retraining(
        self, space: SearchSpace, dataset: Dataset | None, max_resource: int, *, use_valid: bool
    ) -> TrainingEvaluator:
        """The evaluator of the final training, which alone looks at `test`, once, when the training is over.

        With `use_valid` it trains on `train` and `valid` together, in one shuffled order.
        """
        train_on, watch = (("train", "valid"), None) if use_valid else (("train",), "valid")
        return self._evaluator(space, dataset, max_resource, train_on=train_on, watch=watch, report="test")

    def _evaluator(
        self,
        space: SearchSpace,
        dataset: Dataset | None,
        max_resource: int,
        *,
        train_on: tuple[str, ...],
        watch: str | None,
        report: str,
    ) -> TrainingEvaluator:
        from spark_nas.evaluation.evaluator import TrainingEvaluator

        if dataset is None:
            raise OptionError("data", None, "training needs a data set: add a data section")
        if max_resource < 1:
            raise OptionError("max_resource", max_resource, "training needs at least 1 epoch")
        for split in {*train_on, report}:
            if dataset.rows(split) < 1:
                raise DataError(f"split {split!r} is empty: prepare the data with a larger share for it")
        if self.batch_size > 1 and all(dataset.rows(split) == 1 for split in train_on):
            raise nothing_to_learn_from("+".join(train_on))
        if (self.crop_padding or self.flip or self.cutout) and len(dataset.input_shape) != 3:
            raise OptionError("crop_padding, flip, cutout", dataset.input_shape, "only images (C, H, W) have these")
        if self.ghost_batch and not dataset.input_shape:
            raise OptionError("ghost_batch", self.ghost_batch, "a text's windows are not cut into groups: use 0")
        return TrainingEvaluator(space, self, dataset, max_resource, train_on=train_on, watch=watch, report=report)


def nothing_to_learn_from(split: str) -> DataError:
    """The refusal of a split of one example, where a batch has more."""
    return DataError(
        f"split {split!r} has a single example, from which no batch norm can learn: "
        "prepare the data with a larger share for it, or use batch_size: 1"
    )


def _as_type_of(name: str, default: object, value: object) -> Any:  # noqa: ANN401 - of the type the option has
    """A recipe's value as the option's type; only an int may stand for a float."""
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(default):
        raise OptionError(f"recipe.{name}", value, f"must be of type {type(default).__name__}")
    return value


def _one_of(*values: str) -> tuple[str, Callable[[Any], bool]]:
    return "one of " + ", ".join(values), lambda value: value in values


_FRACTION: tuple[str, Callable[[Any], bool]] = ("at least 0 and less than 1", lambda value: 0 <= value < 1)
_NOT_NEGATIVE: tuple[str, Callable[[Any], bool]] = ("at least 0 and finite", lambda value: 0 <= value < float("inf"))
_POSITIVE: tuple[str, Callable[[Any], bool]] = ("greater than 0 and finite", lambda value: 0 < value < float("inf"))
_COUNT: tuple[str, Callable[[Any], bool]] = ("at least 1", lambda value: value >= 1)
_INCREASING: tuple[str, Callable[[Any], bool]] = (
    "increasing parts of max_resource between 0 and 1",
    lambda value: list(value) == sorted(set(value)) and all(0 < part < 1 for part in value),
)
_RULES: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "optimizer": _one_of("sgd", "adam", "adamw", "rmsprop", "averaged_sgd"),
    "schedule": _one_of("cosine", "cosine_restarts", "exponential", "step", "constant"),
    "hold": _NOT_NEGATIVE,
    "restart": _COUNT,
    "objective": _one_of("error", "loss"),
    "precision": _one_of("float32", "bfloat16"),
    "learning_rate": _POSITIVE,
    "minimum_learning_rate": _NOT_NEGATIVE,
    "milestones": _INCREASING,
    "decay": _POSITIVE,
    "warmup": _NOT_NEGATIVE,
    "momentum": _FRACTION,
    "weight_decay": _NOT_NEGATIVE,
    "batch_size": _COUNT,
    "ghost_batch": ("0, or at least 2: one example has no statistics", lambda value: value == 0 or value >= 2),
    "label_smoothing": _FRACTION,
    "clip_norm": _NOT_NEGATIVE,
    "crop_padding": _NOT_NEGATIVE,
    "cutout": _NOT_NEGATIVE,
    "drop_path": _FRACTION,
    "auxiliary_weight": _NOT_NEGATIVE,
    "non_monotone": _COUNT,
    "bptt": _COUNT,
    "evaluation_batch_size": _COUNT,
    "horizon": _NOT_NEGATIVE,
    "score_batches": _NOT_NEGATIVE,
    "score_batch_size": _COUNT,
    "shared_norm": _one_of("batch", "running"),
}
_CHECKS = [(name, requirement, holds) for name, (requirement, holds) in _RULES.items()]
