"""The synthetic evaluator: declared curves, resumed exactly, and refused options."""

from __future__ import annotations

import math
from random import Random

import pytest

from spark_nas.engines.simulated import Simulated
from spark_nas.errors import OptionError
from spark_nas.evaluation.synthetic import FormulaCurves, Synthetic
from spark_nas.search.records import Architecture, Job, JobKey, Result, Trial, derive_seed
from spark_nas.spaces.core import Choice, IndependentChoices

SPACE = IndependentChoices("toy", (Choice("a", ("x", "y")), Choice("b", ("x", "y", "z"))))


def trial(trial_id: int, **decisions: str) -> Trial:
    return Trial(trial_id, Architecture(decisions), seed=derive_seed(7, trial_id))


def train(options: Synthetic, subject: Trial, *resources: int) -> list[Result]:
    """Train one trial to each resource in turn, each from the checkpoint before."""
    engine = Simulated(workers=1).build(options.build(SPACE, None, resources[-1]))
    results: list[Result] = []
    for rung, resource in enumerate(resources):
        engine.submit([Job(subject, rung, resource, JobKey(subject.trial_id, rung - 1) if rung else None)])
        results += engine.wait()
    return results


def test_the_loss_is_the_quality_plus_the_closing_gap():
    curves = FormulaCurves(Synthetic(gap=2.0, decay=0.5), 81)
    subject = trial(3)
    quality = curves.quality(subject)
    assert [quality + 2.0, quality + 1.0, quality + 2.0 / 9] == pytest.approx(
        [curves.point(subject, resource).loss for resource in (1, 4, 81)]
    )


def test_without_noise_every_rung_ranks_the_trials_alike():
    curves = FormulaCurves(Synthetic(), 256)
    rankings = [sorted(range(200), key=lambda i, r=r: curves.point(trial(i), r).loss) for r in (1, 4, 16, 64, 256)]
    assert [rankings[0]] * 5 == rankings


def test_qualities_of_trials_are_spread_evenly_over_zero_to_one():
    curves = FormulaCurves(Synthetic(), 1)
    counts = [0] * 10
    for i in range(4000):
        counts[int(10 * curves.quality(trial(i)))] += 1
    assert all(abs(count - 400) < 4 * math.sqrt(4000 * 0.1 * 0.9) for count in counts)


def test_cut_and_resumed_training_is_straight_training():
    options = Synthetic(noise=0.3)
    [straight] = train(options, trial(0), 27)
    cut = train(options, trial(0), 3, 9, 27)
    assert straight.loss == cut[-1].loss
    assert straight.curve == tuple(point for result in cut for point in result.curve)


def test_a_diverging_trial_fails_from_one_resource_on():
    [result] = train(Synthetic(divergence=1.0), trial(5), 50)
    assert result.status == "failed"
    assert result.error is not None
    at = int(result.error.splitlines()[0].split()[-4])
    assert at == result.seconds
    assert f"Diverged: loss nan after {at} units of resource" == result.error.splitlines()[0]
    curves = FormulaCurves(Synthetic(divergence=1.0), 50)
    assert [resource >= at for resource in range(1, 51)] == [
        math.isnan(curves.point(trial(5), resource).loss) for resource in range(1, 51)
    ]


def test_the_landscape_depends_on_architecture_and_recipe_alone_when_asked_to():
    curves = FormulaCurves(Synthetic(quality="architecture"), 1)
    same = Trial(9, Architecture({"a": "x", "b": "z"}), {"lr": 0.1}, seed=99)
    assert curves.quality(Trial(1, Architecture({"b": "z", "a": "x"}), {"lr": 0.1}, seed=1)) == curves.quality(same)
    assert curves.quality(Trial(1, Architecture({"b": "z", "a": "x"}), {"lr": 0.2}, seed=1)) != curves.quality(same)
    assert curves.quality(Trial(1, SPACE.mutate(same.architecture, Random(0)), {"lr": 0.1})) != curves.quality(same)


@pytest.mark.parametrize(
    ("key", "value"), [("gap", -1.0), ("decay", math.inf), ("noise", math.nan), ("divergence", 1.5)]
)
def test_an_unusable_option_is_named(key: str, value: float):
    with pytest.raises(OptionError, match=f"^{key}: "):
        Synthetic(**{key: value})


def test_a_search_without_resource_is_refused():
    with pytest.raises(OptionError, match=r"^max_resource: 0: must be at least 1"):
        Synthetic().build(SPACE, None, 0)
