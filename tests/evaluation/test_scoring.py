"""Scores with shared weights, and the training of the supernets that they come from, by the evaluator of a search."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch
from torch import nn
from training_support import Digits, MemoryWorkspace

from spark_nas.errors import JobError
from spark_nas.evaluation import checkpoint as checkpoints
from spark_nas.evaluation import scoring
from spark_nas.evaluation.evaluator import TrainingEvaluator
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.norms import batch_statistics, norms_of
from spark_nas.evaluation.oneshot.random_sharing import RandomSharing
from spark_nas.evaluation.training import Training
from spark_nas.search.records import SUPERNET, Architecture, Job, JobKey, Outcome, Trial
from spark_nas.spaces.nas_bench_201 import NasBench201

OPTIONS = NasBench201(channels=4, cells=1)
SPACE = OPTIONS.build()
TRAINING = Training(batch_size=64, learning_rate=0.05, score_batches=2, score_batch_size=50)
CHILD = SPACE.sample(Random(4))
SUPER = Trial(0, SUPERNET, {}, 7)


def evaluator(training: Training = TRAINING) -> TrainingEvaluator:
    return TrainingEvaluator(SPACE, training, Digits(), 2, method=RandomSharing())


@pytest.fixture(scope="module")
def trained() -> tuple[bytes, Outcome]:
    workspace = MemoryWorkspace()
    outcome = evaluator().evaluate(Job(SUPER, 0, 1), workspace)
    assert workspace.saved is not None
    return workspace.saved, outcome


def scored(
    weights: bytes, rung: int = 0, training: Training = TRAINING, child: Architecture = CHILD, source: str = "here"
) -> Outcome:
    job = Job(Trial(5, child, {}, SUPER.seed), rung, 0, SUPER_KEY)
    return evaluator(training).evaluate(job, MemoryWorkspace(weights, source=source))


SUPER_KEY = JobKey(0, 0)


@pytest.fixture(autouse=True)
def _nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_loaded", type(scoring._loaded)())


def test_a_supernet_says_how_many_choices_were_open(trained: tuple[bytes, Outcome]):
    assert 6.0 == trained[1].metrics["open_choices"]
    assert "open_choices" not in scored(trained[0]).metrics


def test_a_supernet_cut_into_jobs_and_killed_in_one_is_the_supernet_never_cut(trained: tuple[bytes, Outcome]):
    whole, first, killed, again = (MemoryWorkspace() for _ in range(4))
    expected = evaluator().evaluate(Job(SUPER, 0, 2), whole)
    evaluator().evaluate(Job(SUPER, 0, 1), first)
    second = evaluator().evaluate(Job(SUPER, 1, 2, SUPER_KEY), MemoryWorkspace(first.saved, on_check=lambda: None))
    assert expected.metrics == second.metrics
    killed.keeps = True
    evaluator().evaluate(Job(SUPER, 0, 2), killed)
    again.kept = killed.kept[:1]  # after the first epoch: what a killed attempt leaves
    assert expected == evaluator().evaluate(Job(SUPER, 0, 2), again)
    assert whole.saved is not None
    assert again.saved is not None
    one, other = (checkpoints.load(w.saved, _identity(w.saved)) for w in (whole, again))
    assert all(torch.equal(value, other.network[name]) for name, value in one.network.items())


def _identity(data: bytes) -> dict[str, str]:
    import io

    payload = data[len(checkpoints.MAGIC) + 32 :]
    return dict(torch.load(io.BytesIO(payload), weights_only=True)["identity"])


def test_a_score_is_that_of_the_child_with_its_part_of_the_weights(trained: tuple[bytes, Outcome]):
    shared = checkpoints.load(trained[0], _identity(trained[0])).network
    child: nn.Module = build(OPTIONS, CHILD, {}, (1, 8, 8), 10, affine=False, seed=1)
    child.load_state_dict({name: shared[name] for name in child.state_dict()})
    data = Digits()
    wrong = seen = 0
    child.eval()
    with torch.inference_mode(), batch_statistics(norms_of(child)):
        for index, (x, y) in enumerate(data.batches("valid", 50)):
            if index < 2:
                normalised = (torch.from_numpy(x.copy()).float() - data.mean[0]) / data.std[0]
                wrong += int((child(normalised).argmax(1) != torch.from_numpy(y.copy())).sum())
                seen += len(y)
    assert 100 == seen
    assert wrong / seen == scored(trained[0]).loss


def test_later_rungs_see_the_whole_split_and_so_does_the_first_where_no_number_is_given(trained: tuple[bytes, Outcome]):
    whole = scored(trained[0], rung=1)
    assert whole.metrics != scored(trained[0]).metrics
    everything = evaluator(replace(TRAINING, score_batches=0))
    supernet = MemoryWorkspace()
    everything.evaluate(Job(SUPER, 0, 1), supernet)
    job = Job(Trial(5, CHILD, {}, SUPER.seed), 0, 0, SUPER_KEY)
    assert whole.metrics == everything.evaluate(job, MemoryWorkspace(supernet.saved, source="there")).metrics


def test_running_statistics_give_other_scores_and_batch_statistics_leave_no_trace(trained: tuple[bytes, Outcome]):
    first = scored(trained[0])
    for seed in range(3):
        scored(trained[0], child=SPACE.sample(Random(seed)))
    assert first == scored(trained[0])
    running = replace(TRAINING, shared_norm="running")
    supernet = MemoryWorkspace()
    evaluator(running).evaluate(Job(SUPER, 0, 1), supernet)
    assert supernet.saved is not None
    assert first.metrics != scored(supernet.saved, training=running, source="there").metrics


def test_a_worker_reads_the_checkpoint_of_a_supernet_once(trained: tuple[bytes, Outcome]):
    class Counting(MemoryWorkspace):
        loads = 0

        def load(self) -> bytes | None:
            Counting.loads += 1
            return super().load()

    for source in ("a", "a", "b", "a", "b", "c", "c", "b"):
        for seed in (1, 2):
            job = Job(Trial(5, SPACE.sample(Random(seed)), {}, SUPER.seed), 0, 0, SUPER_KEY)
            evaluator().evaluate(job, Counting(trained[0], source=source))
    assert 3 == Counting.loads
    assert 2 == len(scoring._loaded)


@pytest.mark.parametrize(
    ("trial", "message"),
    [
        (Trial(5, CHILD, {}, 8), "its seed is 7, not 8"),
        (Trial(5, CHILD, {"channels": 8}, 7), "its recipe is"),
        (Trial(5, Architecture(dict(list(CHILD.items())[1:])), {}, 7), "choice '0->1' is open"),
    ],
)
def test_weights_of_another_supernet_and_open_choices_are_refused(
    trained: tuple[bytes, Outcome], trial: Trial, message: str
):
    with pytest.raises(JobError, match=message):
        evaluator().evaluate(Job(trial, 0, 0, SUPER_KEY), MemoryWorkspace(trained[0], source="here"))


def test_without_a_checkpoint_there_is_nothing_to_score_with():
    with pytest.raises(JobError, match="needs the checkpoint of a supernet"):
        scored(b"", source=None)  # type: ignore[arg-type]


def test_open_choices_without_a_method_are_refused():
    lonely = TrainingEvaluator(SPACE, TRAINING, Digits(), 2)
    with pytest.raises(JobError, match="choice '0->1' is open, and there is no method"):
        lonely.evaluate(Job(SUPER, 0, 1), MemoryWorkspace())


def test_a_horizon_stretches_the_schedules_beyond_the_schedulers_resource():
    trial = Trial(1, CHILD, {"horizon": 3}, 7)
    outcome = evaluator().evaluate(Job(trial, 0, 3), MemoryWorkspace())
    assert [3, 2] == [len(outcome.curve), evaluator().max_resource]
    rates = [point.metrics["learning_rate"] for point in outcome.curve]
    assert pytest.approx([0.05, 0.05 * 0.75, 0.05 * 0.25]) == rates
