"""Laws of the training evaluator, on real digits; above all that cutting a training changes nothing."""

from __future__ import annotations

import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import training_support
from torch import nn
from training_support import SPACE, Digits, MemoryWorkspace, evaluator, job, small_network

from spark_nas.errors import DataError, Diverged, JobError, OptionError, TimeLimitExceeded
from spark_nas.evaluation.evaluator import TrainingEvaluator
from spark_nas.evaluation.training import RECIPE_KEYS, Training
from spark_nas.search.records import CurvePoint, Job, Outcome

FULL = Training(learning_rate=0.05, batch_size=48, crop_padding=1, flip=True, cutout=2, drop_path=0.1, warmup=1)


Request = tuple[TrainingEvaluator, Job, bytes | None]


def elsewhere(requests: list[Request], folder: Path) -> list[tuple[Outcome, bytes]]:
    """Run jobs in a fresh Python process."""
    request, answer = folder / "request", folder / "answer"
    request.write_bytes(pickle.dumps(requests))
    paths = [str(Path(__file__).resolve().parents[2]), str(Path(training_support.__file__).parent)]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    # Imported by name, not run as __main__, so that what it pickles is known here by the same name.
    code = "import training_support; training_support.main()"
    subprocess.run([sys.executable, "-c", code, str(request), str(answer)], check=True, env=environ)
    answers: list[tuple[Outcome, bytes]] = pickle.loads(answer.read_bytes())
    return answers


def test_a_training_cut_at_every_rung_and_resumed_in_another_process_is_bitwise_the_uncut_one(tmp_path: Path) -> None:
    """The second rung runs in a fresh process, the others and the whole in this one."""
    tasks = [
        evaluator(FULL.with_recipe({"optimizer": optimizer, "learning_rate": 0.01}), max_resource=5)
        for optimizer in ("sgd", "adamw")
    ]

    def here(requests: list[Request], _: Path) -> list[tuple[Outcome, bytes]]:
        spaces = [MemoryWorkspace(checkpoint) for _, _, checkpoint in requests]
        outcomes = [task.evaluate(job, space) for (task, job, _), space in zip(requests, spaces, strict=True)]
        return [(outcome, space.saved or b"") for outcome, space in zip(outcomes, spaces, strict=True)]

    uncut = here([(task, job(5), None) for task in tasks], tmp_path)
    rungs, saved = list[list[Outcome]](), list[bytes | None]([None, None])
    for rung, (resource, where) in enumerate([(1, here), (3, elsewhere), (5, here)]):
        answers = where([(t, job(resource, rung), c) for t, c in zip(tasks, saved, strict=True)], tmp_path)
        rungs.append([outcome for outcome, _ in answers])
        saved = [checkpoint for _, checkpoint in answers]
    for index, (whole, checkpoint) in enumerate(uncut):
        assert whole.curve == sum((outcomes[index].curve for outcomes in rungs), ())
        assert (whole.loss, whole.metrics) == (rungs[-1][index].loss, rungs[-1][index].metrics)
        assert checkpoint == saved[index]


@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_training_cut_anywhere_is_bitwise_the_uncut_one(schedule: str, optimizer: str) -> None:
    task = evaluator(FULL.with_recipe({"optimizer": optimizer, "schedule": schedule, "learning_rate": 0.01}))
    straight = MemoryWorkspace()
    uncut = task.evaluate(job(4), straight)
    for cut in (1, 2, 3):
        first = MemoryWorkspace()
        head = task.evaluate(job(cut), first)
        second = MemoryWorkspace(first.saved)
        tail = task.evaluate(job(4, rung=1), second)
        assert uncut.curve == head.curve + tail.curve
        assert (uncut.metrics, straight.saved) == (tail.metrics, second.saved)


def passes_of(task: TrainingEvaluator) -> list[str]:
    """The splits its data set was asked for, in order."""
    assert isinstance(task.dataset, Digits)
    return task.dataset.passes


def test_only_the_remaining_epochs_are_trained() -> None:
    task = evaluator(FULL)
    first = MemoryWorkspace()
    task.evaluate(job(1), first)
    passes_of(task).clear()
    outcome = task.evaluate(job(3, rung=1), MemoryWorkspace(first.saved))
    assert passes_of(task) == ["train", "valid"] * 2
    assert [point.resource for point in outcome.curve] == [2, 3]


def test_the_last_state_is_saved_even_when_it_is_worse_than_an_earlier_one() -> None:
    task = evaluator(Training(learning_rate=0.5, schedule="constant", clip_norm=0.0), max_resource=4)
    workspace = MemoryWorkspace()
    outcome = task.evaluate(job(4), workspace)
    losses = [point.metrics["valid_loss"] for point in outcome.curve]
    assert losses[-1] > min(losses)
    again = task.evaluate(job(4, rung=1), MemoryWorkspace(workspace.saved))
    assert (outcome.metrics["valid_loss"], ()) == (again.metrics["valid_loss"], again.curve)


def test_no_epochs_measures_the_untrained_network() -> None:
    outcome = evaluator(FULL).evaluate(job(0), MemoryWorkspace())
    assert ((), {"valid_loss", "valid_error", "parameters"}) == (outcome.curve, set(outcome.metrics))


def test_another_seed_is_another_training() -> None:
    first, second = (evaluator(FULL).evaluate(job(1, seed=seed), MemoryWorkspace()) for seed in (1, 2))
    assert first.metrics != second.metrics


def test_global_generators_and_settings_are_left_as_they_were() -> None:
    before = (torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    evaluator(FULL).evaluate(job(1), MemoryWorkspace(threads=2))
    after = (torch.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@pytest.mark.parametrize("objective", ["error", "loss"])
def test_the_loss_is_the_objective_on_the_validation_split(objective: str) -> None:
    outcome = evaluator(Training(objective=objective)).evaluate(job(2), MemoryWorkspace())  # type: ignore[arg-type]
    assert outcome.metrics[f"valid_{objective}"] == outcome.loss == outcome.curve[-1].loss


def test_each_epoch_is_a_point_with_losses_errors_and_rate() -> None:
    outcome = evaluator(FULL).evaluate(job(2), MemoryWorkspace())
    names = {"train_loss", "train_error", "valid_loss", "valid_error", "learning_rate"}
    assert [(1, names), (2, names)] == [(point.resource, set(point.metrics)) for point in outcome.curve]
    assert isinstance(outcome.curve[0], CurvePoint)
    assert outcome.metrics["parameters"] == 8 * 9 + 16 + 8 * 16 * 10 + 10


def test_the_search_never_reads_the_test_split() -> None:
    task = Training().build(SPACE, Digits(), 2)
    assert (*task.train_on, task.watch, task.report) == ("train", "valid", "valid")
    small = evaluator(Training())
    small.evaluate(job(2), MemoryWorkspace())
    assert "test" not in passes_of(small)


@pytest.mark.parametrize("use_valid", [True, False])
def test_the_retraining_reads_the_test_split_once_and_reports_it(use_valid: bool) -> None:
    built = Training().build_retraining(SPACE, Digits(), 3, use_valid=use_valid)
    task = replace(built, network_builder=small_network)
    outcome = task.evaluate(job(3), MemoryWorkspace())
    passes = passes_of(task)
    assert (passes.count("test"), passes[-1]) == (1, "test")
    assert (passes.count("train"), passes.count("valid")) == (3, 3)
    assert outcome.metrics["test_error"] == outcome.loss
    assert ("valid_error" not in outcome.metrics) == use_valid


def test_a_diverging_trial_raises_and_leaves_no_checkpoint() -> None:
    workspace = MemoryWorkspace()
    with pytest.raises(Diverged, match="epoch"):
        evaluator(Training(learning_rate=1e35, clip_norm=0.0)).evaluate(job(4), workspace)
    assert workspace.saved is None


def test_a_trial_that_diverges_later_has_reported_the_epochs_before() -> None:
    workspace = MemoryWorkspace()
    whole = evaluator(FULL).evaluate(job(4), MemoryWorkspace())
    checks = []

    def limit() -> None:
        checks.append(1)
        if len(checks) == 20:  # an epoch has 6 batches, and its validation split one
            raise Diverged("in epoch 3")

    with pytest.raises(Diverged):
        evaluator(FULL).evaluate(job(4), replace(workspace, on_check=limit))
    assert tuple(workspace.curve) == whole.curve[:2]


def test_an_epoch_that_the_validation_split_shows_to_have_diverged_counts() -> None:
    workspace = MemoryWorkspace()
    with pytest.raises(Diverged, match="on the valid split"):
        replace(evaluator(FULL), network_builder=blown_up).evaluate(job(4), workspace)
    [point] = workspace.curve
    assert (point.resource, math.isnan(point.loss), math.isfinite(point.metrics["train_loss"])) == (1, True, True)


def blown_up(*arguments: Any) -> nn.Module:  # noqa: ANN401 - those of a network's builder
    """A network that answers infinity when it is only measured."""
    network = small_network(*arguments)
    network.register_forward_hook(lambda module, _, logits: logits if module.training else logits * math.inf)
    return network


def test_the_time_limit_is_looked_at_in_every_batch() -> None:
    checks = []

    def limit() -> None:
        checks.append(1)
        if len(checks) == 5:
            raise TimeLimitExceeded("longer than 1 s")

    with pytest.raises(TimeLimitExceeded):
        evaluator(Training(batch_size=64)).evaluate(job(4), MemoryWorkspace(on_check=limit))
    assert len(checks) == 5


@pytest.mark.parametrize("change", [{"seed": 8}, {"recipe": {"dropout": 0.4}}])
def test_a_checkpoint_of_another_trial_is_refused(change: dict[str, object]) -> None:
    first = MemoryWorkspace()
    evaluator(FULL).evaluate(job(1), first)
    with pytest.raises(JobError, match=f"its {next(iter(change))} is"):
        evaluator(FULL).evaluate(job(2, rung=1, **change), MemoryWorkspace(first.saved))  # type: ignore[arg-type]


def test_a_checkpoint_ahead_of_the_job_is_refused() -> None:
    first = MemoryWorkspace()
    evaluator(FULL).evaluate(job(2), first)
    with pytest.raises(JobError, match="2 epochs, more than the 1"):
        evaluator(FULL).evaluate(job(1, rung=1), MemoryWorkspace(first.saved))


def test_a_schedule_with_an_end_refuses_to_go_beyond_it() -> None:
    with pytest.raises(JobError, match="ends at 4"):
        evaluator(Training()).evaluate(job(5), MemoryWorkspace())
    endless = evaluator(Training(schedule="constant")).evaluate(job(5), MemoryWorkspace())
    assert endless.curve[-1].resource == 5


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
    Training().check_recipe(["learning_rate", "dropout"], {"dropout"})
    with pytest.raises(OptionError, match="did you mean 'learning_rate'"):
        Training().check_recipe(["learning_rat"], {"dropout"})


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


@pytest.mark.parametrize("options", [replace(FULL, precision="bfloat16"), replace(FULL, channels_last=True)])
def test_every_precision_and_layout_trains_and_resumes_bitwise(options: Training) -> None:
    task = evaluator(options, max_resource=2)
    uncut = task.evaluate(job(2), MemoryWorkspace())
    first = MemoryWorkspace()
    task.evaluate(job(1), first)
    assert uncut.metrics == task.evaluate(job(2, rung=1), MemoryWorkspace(first.saved)).metrics
