"""Successive halving: Jamieson and Talwalkar (AISTATS 2016); the notation is that of Li et al. (MLSys 2020), alg. 1."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import repeat
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.schedulers.brackets import Bracket, halving_bracket
from spark_nas.search.schedulers.rounds import RoundsScheduler


@dataclass(frozen=True)
class SuccessiveHalving:
    """Options of successive halving."""

    trials: int = 81
    """n: trials in the lowest rung; at least eta**(number of halvings)."""
    min_resource: int = 1
    """r: the least resource worth measuring, in the evaluator's unit (epochs, unless it says otherwise)."""
    max_resource: int = 81
    """R: cumulative resource of a fully trained trial."""
    eta: int = 3
    """Each rung keeps the best 1/eta."""
    early_stopping_rate: int = 0
    """s: how many of the lowest rungs are left out; the lowest is then about r * eta**s."""
    brackets: int | None = 1
    """How often the whole is done, with new trials; None goes on until the sampler or the driver stops."""
    overlap: bool = False
    """Whether idle workers open the next bracket. The order of results then decides which jobs come when."""

    asynchronous: ClassVar[bool] = False

    def __post_init__(self) -> None:
        self.plan()
        if self.brackets is not None and self.brackets < 1:
            raise OptionError("brackets", self.brackets, "must be at least 1, or null for an endless search")

    @property
    def endless(self) -> bool:
        """Whether only the sampler or a budget ends the search."""
        return self.brackets is None

    def plan(self) -> tuple[Bracket, ...]:
        """The one bracket, which is done `brackets` times."""
        return (
            halving_bracket(
                self.trials,
                self.min_resource,
                self.max_resource,
                self.eta,
                early_stopping_rate=self.early_stopping_rate,
            ),
        )

    def build(self, sampler: Sampler, seed: int) -> Scheduler:
        """The scheduler."""
        (bracket,) = self.plan()
        plans = repeat(bracket) if self.brackets is None else repeat(bracket, self.brackets)
        return RoundsScheduler(plans, sampler, seed, max_resource=self.max_resource, eta=self.eta, overlap=self.overlap)
