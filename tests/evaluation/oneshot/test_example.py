"""The method that docs/weight_sharing.md shows to whoever writes one: it is run as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from training_support import Digits, MemoryWorkspace

from spark_nas.assemble import parse_experiment
from spark_nas.evaluation.evaluator import TrainingEvaluator
from spark_nas.evaluation.training import Training
from spark_nas.search.records import SUPERNET, Job, Trial
from spark_nas.spaces.nas_bench_201 import NasBench201

TEXT = (Path(__file__).resolve().parents[3] / "docs" / "weight_sharing.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    names: dict[str, Any] = {"__name__": __name__}
    exec(code, names)
    return names


def test_it_trains_a_supernet_and_derives(example: dict[str, Any]):
    space = NasBench201(channels=4, cells=1).build()
    evaluator = TrainingEvaluator(space, Training(batch_size=64), Digits(), 1, method=example["Favourites"]())
    outcome = evaluator.evaluate(Job(Trial(0, SUPERNET), 0, 1), MemoryWorkspace())
    assert [{"none"}] == [set(architecture.values()) for architecture in outcome.derived]
    assert 6 == outcome.metrics["open_choices"]


def test_it_favours_earlier_options(example: dict[str, Any]):
    method = example["Favourites"](0.1).build(NasBench201(channels=4, cells=1).build())
    drawn = [next(iter(option)) for _ in range(100) for option in method.gates().values()]
    assert drawn.count("none") > drawn.count("skip_connect") > drawn.count("avg_pool_3x3")


def test_the_experiment_beside_it_is_a_good_one():
    (text,) = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
    assert (4, 4 * 5 * 1000, 4) == tuple(b.sizes[0] for b in parse_experiment(yaml.safe_load(text)).scheduler.plan())
