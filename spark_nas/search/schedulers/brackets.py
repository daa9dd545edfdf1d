"""Exact bracket arithmetic: which rungs there are, how many trials each holds and to which resource it trains.

Successive halving: Jamieson and Talwalkar (2016); Hyperband: Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar
(JMLR 2018), algorithm 1 and table 1; ASHA: Li et al. (MLSys 2020), algorithms 1 and 2. The split of trials over
asynchronous brackets follows Determined's `adaptive_asha`.

Everything is integer arithmetic: `floor(log(243) / log(3))` is 4 in double precision, and the true answer is 5.

Rung resources are built downward from R, as `R // eta**k`, so the top rung is R exactly. Where eta does not
divide R the quotient is rounded down: R = 300 and eta = 4 give 1, 4, 18, 75, 300 for the papers' 1.17, 4.69,
18.75, 75, 300, because a job trains whole units. Somebody who needs the fractions measures in a finer unit
(samples instead of epochs). The rungs stay strictly increasing, and the lowest is never below `min_resource`.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from spark_nas.errors import OptionError

Rounding = Literal["pseudocode", "jmlr_table"]
Mode = Literal["aggressive", "standard", "conservative"]


@dataclass(frozen=True, slots=True)
class Bracket:
    """One run of successive halving, as data: what `spark-nas plan` prints and what the schedulers carry out."""

    s: int
    """How many times it halves; Hyperband's s. There are s + 1 rungs."""
    sizes: tuple[int, ...]
    """n_i: trials in each rung, from the bottom."""
    resources: tuple[int, ...]
    """r_i: cumulative resource of each rung, from the bottom, in the evaluator's unit."""

    def __post_init__(self) -> None:
        if not len(self.sizes) == len(self.resources) == self.s + 1:
            raise ValueError(f"a bracket with s={self.s} has {self.s + 1} rungs, got {self.sizes} and {self.resources}")

    @property
    def jobs(self) -> int:
        """How many jobs it issues when no trial fails."""
        return sum(self.sizes)

    @property
    def resource_resumed(self) -> int:
        """Resource spent in all when a promoted trial continues from its checkpoint."""
        below = (0, *self.resources[:-1])
        return sum(n * (r - q) for n, r, q in zip(self.sizes, self.resources, below, strict=True))


def check_resources(min_resource: int, max_resource: int, eta: int) -> None:
    """Raise OptionError unless 1 <= r <= R and eta >= 2."""
    if eta < 2:
        raise OptionError("eta", eta, "must be at least 2; 3 or 4 is usual")
    if min_resource < 1:
        raise OptionError("min_resource", min_resource, "must be at least 1")
    if max_resource < min_resource:
        raise OptionError("max_resource", max_resource, f"must be at least min_resource, which is {min_resource}")


def halvings(min_resource: int, max_resource: int, eta: int) -> int:
    """s_max: the largest s with r * eta**s <= R."""
    s, resource = 0, min_resource
    while resource * eta <= max_resource:
        resource *= eta
        s += 1
    return s


def rung_resources(max_resource: int, eta: int, s: int) -> tuple[int, ...]:
    """r_0 < ... < r_s = R of a bracket that halves s times."""
    return tuple(max_resource // eta ** (s - i) for i in range(s + 1))


def rung_sizes(trials: int, eta: int, s: int) -> tuple[int, ...]:
    """n_i = floor(n / eta**i) of a bracket that halves s times."""
    return tuple(trials // eta**i for i in range(s + 1))


def halving_bracket(
    trials: int, min_resource: int, max_resource: int, eta: int, early_stopping_rate: int = 0
) -> Bracket:
    """The bracket of successive halving with n trials and early-stopping rate s.

    Raises OptionError where the paper's conditions do not hold: eta >= 2, 1 <= r <= R, 0 <= s <= s_max and
    n >= eta**(s_max - s), without which no trial would reach R.
    """
    check_resources(min_resource, max_resource, eta)
    most = halvings(min_resource, max_resource, eta)
    if not 0 <= early_stopping_rate <= most:
        raise OptionError("early_stopping_rate", early_stopping_rate, f"must be from 0 to {most} with these resources")
    s = most - early_stopping_rate
    if trials < eta**s:
        raise OptionError(
            "trials",
            trials,
            f"must be at least eta**{s} = {eta**s} for one trial to reach max_resource; "
            "use more trials, or a higher min_resource or early_stopping_rate",
        )
    return Bracket(s, rung_sizes(trials, eta, s), rung_resources(max_resource, eta, s))


def hyperband_brackets(
    max_resource: int, eta: int, rounding: Rounding = "pseudocode", min_resource: int = 1
) -> tuple[Bracket, ...]:
    """One iteration of Hyperband, from s = s_max down to 0.

    `pseudocode` rounds n up once, `ceil((s_max + 1) / (s + 1) * eta**s)`; `jmlr_table` is what table 1 of the
    paper prints, `floor((s_max + 1) / (s + 1)) * eta**s`.
    """
    check_resources(min_resource, max_resource, eta)
    most = halvings(min_resource, max_resource, eta)
    brackets = []
    for s in range(most, -1, -1):
        n = first_rung(s, most, eta) if rounding == "pseudocode" else (most + 1) // (s + 1) * eta**s
        brackets.append(Bracket(s, rung_sizes(n, eta, s), rung_resources(max_resource, eta, s)))
    return tuple(brackets)


def first_rung(s: int, s_max: int, eta: int) -> int:
    """Hyperband's n of bracket s: the integer ceiling of (s_max + 1) * eta**s / (s + 1)."""
    power: int = eta**s
    return -(-(s_max + 1) * power // (s + 1))


def adaptive_rungs(most: int, mode: Mode) -> tuple[int, ...]:
    """How many rungs each asynchronous bracket has, most aggressive first, when at most `most` are useful.

    `conservative` has every bracket of Hyperband, `standard` the more aggressive half, `aggressive` one: ASHA.
    """
    fewest = {"aggressive": most, "standard": (most - 1) // 2 + 1, "conservative": 1}[mode]
    return tuple(range(most, fewest - 1, -1))


def budget_weight(rungs: int, eta: int) -> Fraction:
    """Trials of a bracket in proportion to which all brackets spend about the same: eta**(rungs - 1) / rungs."""
    return Fraction(eta ** (rungs - 1), rungs)


def budget_shares(trials: int, rungs: tuple[int, ...], eta: int) -> tuple[int, ...]:
    """Trials of each bracket by `budget_weight`, rounded down; the first takes what is left over."""
    weights = [budget_weight(each, eta) for each in rungs]
    shares = [int(trials * weight / sum(weights)) for weight in weights]
    shares[0] += trials - sum(shares)
    return tuple(shares)
