"""Hyperband: Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar (JMLR 2018), algorithm 1."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, repeat
from typing import ClassVar

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler, Scheduler
from spark_nas.search.schedulers.brackets import Bracket, Rounding, hyperband_brackets
from spark_nas.search.schedulers.rounds import RoundsScheduler


@dataclass(frozen=True)
class Hyperband:
    """Options of Hyperband."""

    max_resource: int = 81
    """R: cumulative resource of a fully trained trial, in the evaluator's unit (epochs, unless it says otherwise)."""
    eta: int = 3
    """Each rung keeps the best 1/eta."""
    rounding: Rounding = "pseudocode"
    """Trials of a bracket: `pseudocode` rounds up once (algorithm 1), `jmlr_table` is what the paper's table 1 has."""
    iterations: int | None = 1
    """How often all brackets are done, with new trials; None goes on until the sampler or the driver stops."""
    overlap: bool = False
    """Whether idle workers open the next bracket. The order of results then decides which jobs come when."""
    min_resource: int = 1
    """r: the least resource worth measuring; with R it gives the number of brackets."""

    asynchronous: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.rounding not in ("pseudocode", "jmlr_table"):
            raise OptionError("rounding", self.rounding, "must be pseudocode or jmlr_table")
        if self.iterations is not None and self.iterations < 1:
            raise OptionError("iterations", self.iterations, "must be at least 1, or null for an endless search")
        self.plan()

    @property
    def endless(self) -> bool:
        """Whether only the sampler or a budget ends the search."""
        return self.iterations is None

    def plan(self) -> tuple[Bracket, ...]:
        """One iteration: its brackets from the most aggressive to plain full training."""
        return hyperband_brackets(self.max_resource, self.eta, self.rounding, self.min_resource)

    def build(self, sampler: Sampler, seed: int) -> Scheduler:
        """The scheduler."""
        rounds = repeat(self.plan()) if self.iterations is None else repeat(self.plan(), self.iterations)
        return RoundsScheduler(
            chain.from_iterable(rounds),
            sampler,
            seed,
            max_resource=self.max_resource,
            eta=self.eta,
            overlap=self.overlap,
        )
