"""Architectures that somebody names: published cells, the winners of another search, a design of experiments.

sampler: {name: given, architectures: ["Genotype(normal=[('sep_conv_3x3', 0), ...], ...)"]}
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from spark_nas.errors import OptionError
from spark_nas.search.protocols import Sampler
from spark_nas.search.records import Proposal, derive_seed
from spark_nas.search.samplers.listed import ListedSampler
from spark_nas.search.samplers.random import Recipes
from spark_nas.spaces import notation
from spark_nas.spaces.core import SearchSpace


@dataclass(frozen=True)
class Given:
    """Options of the sampler."""

    architectures: tuple[str, ...]
    """Each in its paper's notation, or as JSON, choice -> option."""
    recipes: int = 1
    """How many recipes each is proposed with, drawn at random where the recipe leaves a choice."""

    def __post_init__(self) -> None:
        if not self.architectures:
            raise OptionError("architectures", (), "name at least one")
        if self.recipes < 1:
            raise OptionError("recipes", self.recipes, "must be at least 1")

    def build(self, space: SearchSpace, recipes: Recipes, seed: int) -> Sampler:
        """The sampler, in the order given. Raises OptionError for a text that names no architecture of the space."""
        rng = Random(derive_seed(seed, "given"))
        architectures = [notation.read(space, text) for text in self.architectures]
        return ListedSampler(
            [
                Proposal(architecture, dict(recipes.sample(rng)))
                for architecture in architectures
                for _ in range(self.recipes)
            ]
        )
