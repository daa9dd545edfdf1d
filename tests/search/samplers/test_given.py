"""Architectures that somebody names: in that order, each with as many recipes as asked for."""

from __future__ import annotations

import pytest

from spark_nas.errors import OptionError
from spark_nas.search.samplers.given import Given
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.spaces.recipes import RecipeSpace

SPACE = NasBench201().build()
BEST = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_1x1~2|"
SKIPS = "|skip_connect~0|+|skip_connect~0|skip_connect~1|+|skip_connect~0|skip_connect~1|skip_connect~2|"
RECIPES = RecipeSpace({"learning_rate": {"float": [0.01, 0.1]}})


def test_they_are_proposed_in_the_order_given_with_recipes_that_follow_the_seed():
    def proposals(seed: int):
        sampler = Given((BEST, SKIPS), recipes=2).build(SPACE, RECIPES, seed)
        return [sampler.suggest() for _ in range(5)]

    first = proposals(1)
    assert first == proposals(1) != proposals(2)
    assert first[4] is None
    assert ["nor_conv_3x3"] * 2 + ["skip_connect"] * 2 == [p.architecture["0->1"] for p in first if p]
    assert 4 == len({p.recipe["learning_rate"] for p in first if p})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architectures": ()}, "architectures: .*: name at least one"),
        ({"architectures": (BEST,), "recipes": 0}, "recipes: 0: must be at least 1"),
    ],
)
def test_nothing_to_propose_is_refused(options: dict[str, object], message: str):
    with pytest.raises(OptionError, match=message):
        Given(**options)  # type: ignore[arg-type]


def test_a_text_that_names_none_is_refused_when_the_sampler_is_built():
    with pytest.raises(OptionError, match="leaves"):
        Given(('{"0->1": "none"}',)).build(SPACE, RECIPES, 1)
