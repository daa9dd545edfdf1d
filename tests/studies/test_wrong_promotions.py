"""ASHA's wrong promotions grow like the square root of a rung (Li et al., MLSys 2020, section 3.3). A simulation.

The shipped scheduler on the simulated engine, one worker, losses independent and alike in distribution. A promotion out
of the lowest rung is wrong when the trial is not among the best floor(n / eta) of the n that have reported there. The
reference numbers are those of an independent simulation, 40 seeds each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random
from statistics import fmean, stdev

import numpy as np
import pytest

from benchmarks.stragglers import Endless
from spark_nas.driver import run
from spark_nas.engines.simulated import Simulated
from spark_nas.search.protocols import Workspace
from spark_nas.search.records import Job, Outcome, Result
from spark_nas.search.schedulers.asha import Asha

SIZES = (64, 256, 1024, 4096)
REFERENCE = {2: (2.9, 7.9, 17.6, 42.4), 3: (3.0, 7.4, 17.2, 38.1), 4: (2.3, 6.4, 14.2, 34.5)}
SEEDS = 40


class Unrelated:
    """Losses that have nothing to do with one another."""

    def evaluate(self, job: Job, workspace: Workspace) -> Outcome:
        return Outcome(Random(f"{job.trial.seed} {job.rung}").random())


class Wrong:
    """A log that counts, at each of `sizes` reports of the lowest rung, promotions and wrong promotions out of it."""

    def __init__(self, eta: int, sizes: Sequence[int]) -> None:
        self._eta, self._sizes = eta, sizes
        self._losses: dict[int, float] = {}
        self._promoted: set[int] = set()
        self.counts: dict[int, tuple[int, int]] = {}

    def append(self, results: Sequence[Result], asked: int) -> None:
        for result in results:
            trial = result.job.trial.trial_id
            if result.job.rung == 1:
                self._promoted.add(trial)
                continue
            self._count()  # with one worker, all that could go up has gone up before the next one reports
            self._losses[trial] = result.loss

    def rows(self) -> Iterable[tuple[Result, int]]:
        return ()

    def finish(self) -> dict[int, tuple[int, int]]:
        self._count()
        return self.counts

    def _count(self) -> None:
        n = len(self._losses)
        if n in self._sizes:
            best = set(sorted(self._losses, key=self._losses.__getitem__)[: n // self._eta])
            self.counts[n] = len(self._promoted - best), len(self._promoted)


def counted(eta: int, seed: int, trials: int) -> dict[int, tuple[int, int]]:
    """Number of reports -> wrong promotions, promotions; of one search."""
    log = Wrong(eta, SIZES)
    options = Asha(min_resource=1, max_resource=eta, eta=eta, trials=trials)
    run(options.build(Endless(), seed), Simulated(workers=1).build(Unrelated()), log)
    return log.finish()


@pytest.mark.slow
@pytest.mark.parametrize("large", [8, pytest.param(SEEDS, marks=pytest.mark.exhaustive)])
@pytest.mark.parametrize(
    "eta", [pytest.param(eta, marks=[pytest.mark.exhaustive] if eta != 3 else []) for eta in REFERENCE]
)
def test_wrong_promotions_grow_like_the_square_root_of_the_rung(eta: int, large: int):
    """40 seeds up to 1,024 reports; `large` of them go on to 4,096, which takes most of the time."""
    searches = [counted(eta, seed, SIZES[-1 if seed <= large else -2]) for seed in range(1, SEEDS + 1)]
    wrong = {n: [counts[n][0] for counts in searches if n in counts] for n in SIZES}
    assert [SEEDS, SEEDS, SEEDS, large] == [len(values) for values in wrong.values()]
    means = [fmean(values) for values in wrong.values()]
    assert 0.45 <= np.polyfit(np.log(SIZES), np.log(means), 1)[0] <= 0.75
    assert fmean(counts[4096][0] / counts[4096][1] for counts in searches if 4096 in counts) < 0.05
    for (n, values), mean, known in zip(wrong.items(), means, REFERENCE[eta], strict=True):
        error = stdev(values) * (1 / len(values) + 1 / SEEDS) ** 0.5
        assert mean == pytest.approx(known, abs=3.5 * error), n
