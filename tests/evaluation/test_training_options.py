"""Which options, recipes and data the training takes, and which it refuses by name."""

from __future__ import annotations

from dataclasses import replace

import pytest
from training_support import SPACE, Digits, MemoryWorkspace, job, small_network

from spark_nas.errors import DataError, OptionError
from spark_nas.evaluation.evaluator import TrainingEvaluator
from spark_nas.evaluation.training import RECIPE_KEYS, Training


def test_a_recipe_overrides_the_options_and_leaves_the_others() -> None:
    options = Training().with_recipe({"learning_rate": 1, "batch_size": 32, "optimizer": "adam", "depth": 16})
    assert Training(learning_rate=1.0, batch_size=32, optimizer="adam") == options


@pytest.mark.parametrize(
    ("recipe", "key"),
    [({"batch_size": "64"}, "batch_size"), ({"learning_rate": -1.0}, "learning_rate"), ({"flip": 1}, "flip")],
)
def test_a_recipe_value_of_the_wrong_type_or_size_is_refused(recipe: dict[str, str | float], key: str) -> None:
    with pytest.raises(OptionError, match=key):
        Training().with_recipe(recipe)


def test_every_recipe_key_is_an_option() -> None:
    assert set(vars(Training())) >= RECIPE_KEYS


def test_a_mistyped_recipe_key_is_refused_naming_the_nearest() -> None:
    Training().check_recipe({"learning_rate": 0.1, "dropout": 0.2}, {"dropout"})
    with pytest.raises(OptionError, match=r"learning_rat: 0.1: .* did you mean 'learning_rate'"):
        Training().check_recipe({"learning_rat": 0.1}, {"dropout"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"optimizer": "sgdd"},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"minimum_learning_rate": 1.0},
        {"milestones": (0.6, 0.3)},
        {"momentum": 1.0},
        {"batch_size": 0},
        {"cutout": -1},
        {"precision": "float16"},
    ],
)
def test_an_unusable_option_is_refused_by_its_name(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=next(iter(wrong))):
        Training(**wrong)  # type: ignore[arg-type]


def test_image_augmentation_of_vectors_is_refused() -> None:
    with pytest.raises(OptionError, match="only images"):
        Training(flip=True).build(SPACE, Digits(flat=True), 4)


@pytest.mark.parametrize("use_valid", [None, False, True])
def test_a_single_example_to_train_on_is_refused_before_any_job_unless_batches_are_of_one(
    use_valid: bool | None,
) -> None:
    data = Digits(sizes=(("train", 1), ("valid", 1), ("test", 9)))

    def build(batch_size: int) -> TrainingEvaluator:
        options = Training(batch_size=batch_size)
        if use_valid is None:
            return options.build(SPACE, data, 2)
        return options.build_retraining(SPACE, data, 2, use_valid=use_valid)

    split = r"train\+valid" if use_valid else "train"
    with pytest.raises(DataError, match=f"split '{split}' has a single example"):
        build(2)
    outcome = replace(build(1), network_builder=small_network).evaluate(job(2), MemoryWorkspace())
    assert len(outcome.curve) == 2


def test_training_without_data_is_refused() -> None:
    with pytest.raises(OptionError, match="data section"):
        Training().build(SPACE, None, 4)
