"""A job that another attempt goes on with: from whichever epoch, it ends where an undisturbed one ends."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import torch
from training_support import Digits, MemoryWorkspace, evaluator, job

from spark_nas.evaluation.checkpoint import MAGIC, Checkpoint, dump
from spark_nas.evaluation.training import Training
from spark_nas.search.records import Job

FULL = Training(learning_rate=0.05, batch_size=48, crop_padding=1, flip=True, cutout=2, drop_path=0.1, warmup=1)


def test_a_job_recovered_at_any_epoch_is_bitwise_the_undisturbed_one() -> None:
    task = evaluator(FULL.with_recipe({"optimizer": "adamw", "learning_rate": 0.01}), max_resource=5)
    first = MemoryWorkspace()
    task.evaluate(job(1), first)
    straight = MemoryWorkspace(first.saved, keeps=True)
    undisturbed = task.evaluate(job(5, rung=1), straight)
    assert len(straight.kept) == 3  # not after the last epoch, where the commit is near
    for epochs, kept in enumerate(straight.kept, start=1):
        dataset = task.dataset
        assert isinstance(dataset, Digits)
        dataset.passes.clear()
        again = MemoryWorkspace(checkpoint=None, kept=[kept])  # a recovered job needs no other checkpoint
        assert task.evaluate(job(5, rung=1), again) == undisturbed
        assert (again.saved, tuple(again.curve)) == (straight.saved, undisturbed.curve)
        assert dataset.passes.count("train") == 4 - epochs


def flipped(kept: bytes) -> bytes:
    return kept[:-200] + bytes([kept[-200] ^ 1]) + kept[-199:]


@pytest.mark.parametrize(
    "damage", [lambda _: b"", lambda kept: kept[:-1], flipped, lambda _: b"of somebody else" * 9], ids=range(4)
)
def test_a_damaged_recovery_checkpoint_is_ignored(
    damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    task = evaluator(FULL)
    straight = MemoryWorkspace(keeps=True)
    undisturbed = task.evaluate(job(2), straight)
    again = MemoryWorkspace(kept=[damage(straight.kept[0])])
    assert task.evaluate(job(2), again) == undisturbed
    assert again.saved == straight.saved
    assert "job (0, 0) starts anew" in caplog.text


@pytest.mark.parametrize("other", [job(3), job(2, seed=8), job(2, recipe={"channels": 4})])
def test_the_recovery_checkpoint_of_another_job_is_ignored(other: Job) -> None:
    kept = MemoryWorkspace(keeps=True)
    evaluator(FULL).evaluate(other, kept)
    undisturbed = evaluator(FULL).evaluate(job(2), MemoryWorkspace())
    assert evaluator(FULL).evaluate(job(2), MemoryWorkspace(kept=kept.kept)) == undisturbed


def test_a_recovery_checkpoint_that_fits_only_in_part_leaves_no_trace() -> None:
    """Another version of a network under the same name: its first weights are loaded before the last are refused."""
    task = evaluator(FULL)
    straight = MemoryWorkspace(keeps=True)
    undisturbed = task.evaluate(job(2), straight)
    payload = straight.kept[0][len(MAGIC) + 32 :]
    state = torch.load(io.BytesIO(payload), weights_only=True)
    state["network"]["body.0.weight"] += 1
    state["network"]["head.weight"] = torch.zeros(2, 2)
    again = MemoryWorkspace(kept=[dump(Checkpoint(**state))])
    assert task.evaluate(job(2), again) == undisturbed
    assert again.saved == straight.saved
