"""One-Shot: all options at once, some dropped at random (Bender et al., ICML 2018, section 3).

A step on the weights runs the plain sum of all paths that are not dropped. The k paths that come together in one place
are dropped independently, each with probability

    r ** (1 / k)

so that r is the probability of losing all of them, however many there are; r rises linearly, from 0 to its final value
over the whole training. Where all are lost one of them, drawn uniformly, stays after all: cells share their choices,
and a node without a path would be silent in every one of them. So k * (1 - r ** (1 / k)) + r paths are expected to run.

A place is a node of a cell, with all options of its incoming edges; in spaces that have no nodes it is the choice
itself. `none` adds nothing and is no path: it runs where an edge has lost all others. A choice that may be `none` and
has no node (a skip connection) can lose its only path for good.

A dropped path is not computed, so its weights get no gradient, neither decay nor momentum moves them, and its batch
norms see nothing: the paper's L2 on used paths only. After training the scheduler's candidates are scored, each alone,
by the statistics of the batch.

The sum must stay of a bounded size, so this is for cells that normalise their paths or their nodes. That of all paths
of an ENAS recurrent cell, which does neither, grows beyond all numbers at 12 nodes. And where a network uses what no
other node reads (the loose ends of ENAS cells), the weights for it learn only in draws in which nothing reads it.

The paper's ghost batch norm (statistics of parts of a batch) is not here: how a network normalises is its own affair,
and no method's. A small `batch_size` normalises alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

import torch
from torch import Tensor

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import NONE
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, Learner, Method, Valid, draw_seed, path, require_choices
from spark_nas.spaces.core import SearchSpace
from spark_nas.spaces.edges import incoming

Path = tuple[str, str]
"""(choice, option)."""


@dataclass(frozen=True)
class OneShotPaths:
    """Options of One-Shot."""

    path_dropout: float = 0.1
    """r in the end: the probability with which a place loses all its paths (and is then left one of them). The paper
    says between 0 and 1 only; this is ours."""

    def __post_init__(self) -> None:
        if not 0 <= self.path_dropout < 1:
            raise OptionError("path_dropout", self.path_dropout, "must be at least 0 and below 1")

    def build(self, space: SearchSpace) -> OneShotMethod:
        """The method. Raises OptionError for a space that decides nothing."""
        require_choices(space)
        return OneShotMethod(space, self)


class OneShotMethod(Method):
    """The paths that a draw leaves, in each step; derives nothing."""

    def __init__(self, space: SearchSpace, options: OneShotPaths) -> None:
        super().__init__()
        self._space, self._options = space, options
        self._places = places(space)
        self.rate: Tensor
        self.register_buffer("rate", torch.zeros((), dtype=torch.float64))

    def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
        """Where the ramp of the rate is."""
        self.rate.fill_(self._options.path_dropout * learner.epochs / learner.horizon)

    def gates(self) -> Gates:
        """Weight 1 for each path that is left."""
        rate = self.rate.item()
        gates: dict[str, dict[str, float]] = {choice.name: {} for choice in self._space.choices}
        for place in self._places:
            for choice, option in place.draw(rate):
                gates[choice][option] = 1.0
        return {choice: options or {NONE: 1.0} for choice, options in gates.items()}

    def evaluation_gates(self) -> Gates:
        """The path of an architecture drawn uniformly: a supernet is as good as what it says of single paths."""
        return path(self._space.sample(Random(draw_seed())))

    def diagnostics(self) -> Mapping[str, float]:
        """r, as it is now."""
        return {"path_dropout": self.rate.item()}


class Place(NamedTuple):
    """Where paths come together."""

    paths: tuple[Path, ...]
    keeps_one: bool
    """Whether a path must be left."""

    def draw(self, rate: float) -> list[Path]:
        """The paths that are not dropped, from torch's generator."""
        count = len(self.paths)
        kept = (torch.rand(count) >= rate ** (1 / count)).tolist()
        if self.keeps_one and not any(kept):
            kept[int(torch.randint(count, ()))] = True
        return [path for path, stays in zip(self.paths, kept, strict=True) if stays]


def places(space: SearchSpace) -> list[Place]:
    """The places of a space, in the order of its choices.

    Nodes, where every choice is an edge that may be `none`; otherwise the choices, of which one with `none` (a skip
    connection, beside which there are other paths) may lose all others.
    """
    options = {choice.name: choice.options for choice in space.choices}
    nodes = _nodes(space) if all(NONE in names for names in options.values()) else ()
    together = nodes or tuple((name,) for name in options)
    found = [
        Place(
            tuple((name, o) for name in names for o in options[name] if o != NONE),
            bool(nodes) or NONE not in options[names[0]],
        )
        for names in together
    ]
    return [place for place in found if place.paths]


def _nodes(space: SearchSpace) -> tuple[tuple[str, ...], ...]:
    """The incoming edges of each node; empty where choices are no edges."""
    try:
        return tuple(incoming(space).values())
    except OptionError:
        return ()
