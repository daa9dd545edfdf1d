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

from spark_nas.errors import Diverged, JobError, TimeLimitExceeded
from spark_nas.evaluation.evaluator import TrainingEvaluator
from spark_nas.evaluation.training import Training
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


def test_a_training_cut_at_every_rung_and_resumed_in_other_processes_is_bitwise_the_uncut_one(tmp_path: Path) -> None:
    tasks = [
        evaluator(FULL.with_recipe({"optimizer": optimizer, "learning_rate": 0.01}), max_resource=5)
        for optimizer in ("sgd", "adamw")
    ]
    straight = [MemoryWorkspace() for _ in tasks]
    uncut = [task.evaluate(job(5), workspace) for task, workspace in zip(tasks, straight, strict=True)]
    cut = [MemoryWorkspace() for _ in tasks]
    rungs = [[task.evaluate(job(1), workspace) for task, workspace in zip(tasks, cut, strict=True)]]
    saved = [workspace.saved for workspace in cut]
    for rung, resource in ((1, 3), (2, 5)):
        jobs: list[Request] = [(t, job(resource, rung), c) for t, c in zip(tasks, saved, strict=True)]
        answers = elsewhere(jobs, tmp_path)
        rungs.append([outcome for outcome, _ in answers])
        saved = [checkpoint for _, checkpoint in answers]
    for index, whole in enumerate(uncut):
        assert whole.curve == sum((outcomes[index].curve for outcomes in rungs), ())
        assert (whole.loss, whole.metrics) == (rungs[-1][index].loss, rungs[-1][index].metrics)
        assert straight[index].saved == saved[index]


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


@pytest.mark.parametrize("options", [replace(FULL, precision="bfloat16"), replace(FULL, channels_last=True)])
def test_every_precision_and_layout_trains_and_resumes_bitwise(options: Training) -> None:
    task = evaluator(options, max_resource=2)
    uncut = task.evaluate(job(2), MemoryWorkspace())
    first = MemoryWorkspace()
    task.evaluate(job(1), first)
    assert uncut.metrics == task.evaluate(job(2, rung=1), MemoryWorkspace(first.saved)).metrics
