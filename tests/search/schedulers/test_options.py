"""Every scheduler's options: what is endless says so, and what cannot be honoured is refused with its key."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from spark_nas.errors import OptionError
from spark_nas.search.records import Job, Proposal, Result, Trial
from spark_nas.search.samplers.listed import Listed
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.async_hyperband import AsynchronousHyperband
from spark_nas.search.schedulers.brackets import Bracket
from spark_nas.search.schedulers.full_training import FullTraining
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.search.schedulers.rungs import best_loss, usable_loss
from spark_nas.search.schedulers.stopping import StoppingAsha
from spark_nas.search.schedulers.successive_halving import SuccessiveHalving
from spark_nas.search.schedulers.trials import Trials
from spark_nas.spaces.core import SUPERNET


@pytest.mark.parametrize(
    ("endless", "finite"),
    [
        (FullTraining(None, 9), FullTraining(3, 9)),
        (SuccessiveHalving(9, max_resource=9, eta=3, brackets=None), SuccessiveHalving(9, max_resource=9, eta=3)),
        (Hyperband(9, iterations=None), Hyperband(9)),
        (Asha(max_resource=9, eta=3), Asha(max_resource=9, eta=3, trials=9)),
        (AsynchronousHyperband(max_resource=9, eta=3), AsynchronousHyperband(max_resource=9, eta=3, trials=99)),
        (StoppingAsha(max_resource=9, eta=3), StoppingAsha(max_resource=9, eta=3, trials=9)),
    ],
)
def test_what_has_no_number_of_trials_is_endless(endless: Asha, finite: Asha) -> None:
    assert (endless.endless, finite.endless) == (True, False)
    assert len(endless.plan()) >= 1


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("trials", lambda: FullTraining(0, 9)),
        ("max_resource", lambda: FullTraining(1, -1)),
        ("iterations", lambda: Hyperband(9, iterations=0)),
        ("rounding", lambda: Hyperband(9, rounding="up")),  # type: ignore[arg-type]
        ("eta", lambda: Hyperband(9, eta=1)),
        ("trials", lambda: Asha(max_resource=9, eta=3, trials=0)),
        ("trials", lambda: StoppingAsha(max_resource=9, eta=3, trials=0)),
        ("first_arrivals", lambda: StoppingAsha(max_resource=9, eta=3, first_arrivals="wait")),  # type: ignore[arg-type]
    ],
)
def test_an_unusable_option_is_named(key: str, wrong: Callable[[], object]) -> None:
    with pytest.raises(OptionError) as caught:
        wrong()
    assert caught.value.key == key


def test_asynchronous_brackets_split_the_trials_by_the_expected_shares() -> None:
    options = AsynchronousHyperband(max_resource=9, eta=3, trials=99, allocation="proportional")
    assert sum(bracket.sizes[0] for bracket in options.plan()) == pytest.approx(99, abs=len(options.plan()))


def test_the_best_loss_of_a_failed_result_is_infinite() -> None:
    failed = Result(Job(Trial(0, SUPERNET), 0, 1), "failed", error="no")
    assert (best_loss(failed, 0.5), usable_loss(failed)) == (math.inf, math.inf)


def test_a_result_of_a_differing_job_is_refused() -> None:
    trials = Trials(Listed((Proposal(SUPERNET),)).build(None, None, 1), 1)
    issued = trials.start(3)
    assert issued is not None
    with pytest.raises(ValueError, match="differs"):
        trials.settle(Result(replace(issued, resource=4), "completed", 0.5))


def test_a_bracket_has_as_many_sizes_as_rungs() -> None:
    with pytest.raises(ValueError, match="rungs"):
        Bracket(2, (9, 3), (1, 3))


def test_a_lost_result_is_never_told() -> None:
    with pytest.raises(ValueError, match="submit it again"):
        Trials(Listed(()).build(None, None, 1), 1).settle(Result(Job(Trial(0, SUPERNET), 0, 1), "lost", error="gone"))
