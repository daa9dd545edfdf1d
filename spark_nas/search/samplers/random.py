"""Random search: Bergstra and Bengio (2012); for architectures Li and Talwalkar (UAI 2019), section 4.

Every proposal is independent and uniform over decisions. Without replacement, what was proposed before is drawn
again, so each draw has the space's own distribution over what is left. A finite space is exhausted exactly: when
`max_attempts` draws in a row were all known, the rest is enumerated (architectures by walking from neighbour to
neighbour, which reaches them all; recipes by drawing until there are `size()` different ones), shuffled, and dealt
out; then the answer is None.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from random import Random
from typing import Protocol

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler
from spark_nas.search.records import Proposal, Recipe, RecipeValue, Result, derive_seed
from spark_nas.spaces.core import Architecture

ENUMERABLE = 1_000_000
"""Combinations of architecture and recipe up to which the rest of a space is listed in memory."""


class Architectures(Protocol):
    """What this sampler needs of a `SearchSpace`."""

    def sample(self, rng: Random) -> Architecture:
        """A complete architecture, uniform over decisions."""
        ...

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every architecture one decision away."""
        ...

    def canonical(self, architecture: Architecture) -> str:
        """A key shared by architectures that are the same network."""
        ...

    def size(self) -> int | None:
        """The number of complete architectures, or None where it is not known."""
        ...


class Recipes(Protocol):
    """What this sampler needs of a `RecipeSpace`."""

    def sample(self, rng: Random) -> Mapping[str, RecipeValue]:
        """A recipe; inactive dimensions are absent."""
        ...

    def canonical(self, recipe: Recipe) -> str:
        """Equal text for equal recipes."""
        ...

    def size(self) -> int | None:
        """The number of different recipes, or None with a continuous dimension."""
        ...


@dataclass(frozen=True)
class RandomSearch:
    """Options of random search."""

    replacement: bool = False
    """Whether the same network with the same recipe may be proposed again."""
    max_attempts: int = 1000
    """Known draws in a row after which the rest of a small finite space is enumerated, and any other given up."""

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise OptionError("max_attempts", self.max_attempts, "must be at least 1; 1000 is usual")

    def build(self, space: Architectures, recipes: Recipes, seed: int) -> Sampler:
        """The sampler."""
        return RandomSampler(self, space, recipes, seed)


class RandomSampler:
    """Proposes at random; learns nothing. Once it has answered None it always does."""

    def __init__(self, options: RandomSearch, space: Architectures, recipes: Recipes, seed: int) -> None:
        self._options = options
        self._space = space
        self._recipes = recipes
        self._rng = Random(derive_seed(seed, "random search"))
        self._known: set[bytes] = set()
        self._rest: list[Proposal] | None = None
        """What is left of an enumerated space, to be dealt from its end."""

    def suggest(self) -> Proposal | None:
        """A proposal; None when everything was proposed, or `max_attempts` draws gave nothing new."""
        if self._rest is None:
            proposal = self._draw()
            if proposal is not None or self._rest is None:
                return proposal
        while self._rest:
            proposal = self._rest.pop()
            if self._is_new(proposal):
                return proposal
        return None

    def observe(self, result: Result) -> None:
        """Nothing to learn."""

    def _draw(self) -> Proposal | None:
        for _ in range(self._options.max_attempts):
            proposal = Proposal(self._space.sample(self._rng), dict(self._recipes.sample(self._rng)))
            if self._options.replacement or self._is_new(proposal):
                return proposal
        self._rest = self._enumerate()
        return None

    def _is_new(self, proposal: Proposal) -> bool:
        """Whether it was never asked about before; 16 bytes a proposal are kept."""
        text = f"{self._space.canonical(proposal.architecture)}\x1f{self._recipes.canonical(proposal.recipe)}"
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        known = len(self._known)
        self._known.add(digest)
        return len(self._known) > known

    def _enumerate(self) -> list[Proposal]:
        """Every combination in random order, or nothing where they are too many or endless."""
        architectures, recipes = self._space.size(), self._recipes.size()
        if architectures is None or recipes is None or architectures * recipes > ENUMERABLE:
            return []
        proposals = [Proposal(a, r) for a in self._all_architectures() for r in self._all_recipes(recipes)]
        self._rng.shuffle(proposals)
        return proposals

    def _all_architectures(self) -> list[Architecture]:
        start = self._space.sample(self._rng)
        seen = {start}
        walk = [start]
        size = self._space.size()
        # Stopping at the size keeps a space whose every point neighbours every other from quadratic time.
        for architecture in takewhile(lambda _: len(walk) != size, walk):
            for neighbour in self._space.neighbours(architecture):
                if neighbour not in seen:
                    seen.add(neighbour)
                    walk.append(neighbour)
        return walk

    def _all_recipes(self, size: int) -> list[dict[str, RecipeValue]]:
        """All recipes; where some are so rare that 100 times the usual number of draws miss them, the others."""
        found: dict[str, dict[str, RecipeValue]] = {}
        for _ in range(100 * size * (1 + math.ceil(math.log(size)))):
            if len(found) == size:
                break
            recipe = dict(self._recipes.sample(self._rng))
            found.setdefault(self._recipes.canonical(recipe), recipe)
        return list(found.values())
