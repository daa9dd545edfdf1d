"""Laws of recipe spaces."""

from __future__ import annotations

import json
import math
import pickle
import sys
from collections import Counter
from random import Random

import pytest
from ConfigSpace import Configuration
from scipy import stats

from spark_nas.errors import OptionError, UsageError
from spark_nas.spaces.recipes import RecipeSpace

SECTION: dict[str, object] = {
    "layers": {"int": [1, 3]},
    "units_2": {"int": [8, 512], "log": True, "when": {"layers": {"min": 2}}},
    "units_3": {"int": [8, 512], "log": True, "when": {"layers": {"min": 3}}},
    "learning_rate": {"float": [1e-5, 0.1], "log": True},
    "optimizer": {"choice": ["sgd", "adam"]},
    "momentum": {"float": [0.0, 0.99], "when": {"optimizer": ["sgd"]}},
    "nesterov": {"choice": [True, False], "when": {"momentum": {"min": 0.5}}},
    "size": {"choice": [32, 64]},
    "width": 4,
}


def draws(section: dict[str, object], count: int, seed: int = 1) -> list[dict[str, int | float | str | bool]]:
    space, rng = RecipeSpace(section), Random(seed)
    return [space.sample(rng) for _ in range(count)]


def test_the_logarithm_of_a_log_dimension_is_uniform():
    logs = [math.log10(float(r["x"])) for r in draws({"x": {"float": [1e-5, 0.1], "log": True}}, 2000)]
    assert stats.kstest(logs, "uniform", args=(-5, 4)).pvalue > 0.01


def test_a_linear_dimension_is_uniform():
    values = [float(r["x"]) for r in draws({"x": {"float": [-1.0, 3.0]}}, 2000)]
    assert stats.kstest(values, "uniform", args=(-1, 4)).pvalue > 0.01


def test_the_integers_of_a_linear_dimension_are_equally_likely():
    counts = Counter(r["x"] for r in draws({"x": {"int": [1, 6]}}, 6000))
    assert sorted(counts) == [1, 2, 3, 4, 5, 6]
    assert stats.chisquare(list(counts.values())).pvalue > 0.01


def test_log_integers_have_the_mass_of_their_rounding_intervals():
    counts = Counter(r["x"] for r in draws({"x": {"int": [1, 4], "log": True}}, 6000))
    masses = [math.log((k + 0.5) / (k - 0.5)) / math.log(4.5 / 0.5) for k in (1, 2, 3, 4)]
    assert stats.chisquare([counts[k] for k in (1, 2, 3, 4)], [6000 * m for m in masses]).pvalue > 0.01


def test_choices_are_equally_likely():
    counts = Counter(r["x"] for r in draws({"x": {"choice": ["a", "b", "c"]}}, 3000))
    assert stats.chisquare([counts[o] for o in "abc"]).pvalue > 0.01


def test_a_dimension_is_there_exactly_where_its_condition_holds():
    for recipe in draws(SECTION, 300):
        layers = int(recipe["layers"])
        assert (layers >= 2) == ("units_2" in recipe)
        assert (layers >= 3) == ("units_3" in recipe)
        assert (recipe["optimizer"] == "sgd") == ("momentum" in recipe)
        assert (float(recipe.get("momentum", 0.0)) >= 0.5) == ("nesterov" in recipe)


def test_every_sample_is_contained():
    space = RecipeSpace(SECTION)
    assert all(space.contains(recipe) for recipe in draws(SECTION, 300))


def test_config_space_accepts_every_sample():
    space = RecipeSpace(SECTION).configuration_space
    for recipe in draws(SECTION, 100):
        Configuration(space, values=recipe).check_valid_configuration()


def test_every_sample_of_config_space_is_contained():
    space = RecipeSpace(SECTION)
    space.configuration_space.seed(1)
    for configuration in space.configuration_space.sample_configuration(100):
        plain = {k: v.item() if hasattr(v, "item") else v for k, v in dict(configuration).items()}
        assert space.contains(plain), plain


def test_only_the_form_of_config_space_needs_its_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delitem(sys.modules, "spark_nas.spaces.config_space", raising=False)
    monkeypatch.setitem(sys.modules, "ConfigSpace", None)
    space = RecipeSpace(SECTION)
    assert space.contains(space.sample(Random(1)))
    with pytest.raises(UsageError, match=r"^ConfigSpace is not installed; pip install 'spark_nas\[configspace\]'$"):
        _ = space.configuration_space


def test_the_same_random_state_gives_the_same_recipes_whatever_the_order_of_keys():
    assert draws(dict(reversed(SECTION.items())), 50) == draws(SECTION, 50)


def test_different_seeds_give_different_recipes():
    assert draws(SECTION, 5, seed=1) != draws(SECTION, 5, seed=2)


def test_values_are_plain_and_survive_json():
    for recipe in draws(SECTION, 100):
        assert {type(value) for value in recipe.values()} <= {int, float, str, bool}
        assert json.loads(json.dumps(recipe)) == recipe


def test_equal_recipes_have_equal_canonical_text():
    space = RecipeSpace(SECTION)
    recipe = space.sample(Random(3))
    assert space.canonical(dict(reversed(recipe.items()))) == space.canonical(recipe)
    assert RecipeSpace({"x": {"float": [0, 2]}}).canonical({"x": 1}) == '{"x":1.0}'


def test_a_space_survives_pickling():
    space = RecipeSpace(SECTION)
    assert pickle.loads(pickle.dumps(space)).sample(Random(1)) == space.sample(Random(1))


@pytest.mark.parametrize(
    "recipe",
    [
        {"n": 0},
        {"n": 3.0},
        {"n": True},
        {"n": "2"},
        {"n": 2, "unknown": 1},
        {},
        {"n": 1, "x": 0.5},
        {"n": 3},
    ],
)
def test_what_is_not_in_the_space_is_not_contained(recipe: dict[str, object]):
    space = RecipeSpace({"n": {"int": [1, 3]}, "x": {"float": [0, 1], "when": {"n": {"min": 3}}}})
    assert not space.contains(recipe)


@pytest.mark.parametrize(
    ("section", "size"),
    [
        ({}, 1),
        ({"a": 1}, 1),
        ({"a": {"choice": [1, 2, 3]}, "b": {"int": [0, 9]}}, 30),
        ({"a": {"int": [1, 3]}, "b": {"choice": ["x", "y"], "when": {"a": {"min": 2, "max": 2}}}}, 4),
        ({"a": {"float": [0, 1]}}, None),
    ],
)
def test_the_size_counts_recipes(section: dict[str, object], size: int | None):
    assert RecipeSpace(section).size() == size


def test_scientific_notation_without_a_point_is_a_number():
    assert RecipeSpace({"x": {"choice": ["1e-4", "sgd"]}}).dimensions[0].domain.values() == (1e-4, "sgd")


@pytest.mark.parametrize(
    ("entry", "key", "remedy"),
    [
        ({"flaot": [0, 1]}, "recipe.x.flaot", "did you mean 'float'?"),
        ({"float": [0, 1], "int": [0, 1]}, "recipe.x", "exactly one of"),
        ({"log": True}, "recipe.x", "exactly one of"),
        ({"float": [1, 0]}, "recipe.x.float", "below the upper"),
        ({"float": [1, 1]}, "recipe.x.float", "constant"),
        ({"float": [1]}, "recipe.x.float", "two bounds"),
        ({"float": ["a", "b"]}, "recipe.x.float", "numbers"),
        ({"float": [0, 1], "log": True}, "recipe.x.float", "above 0"),
        ({"float": [1e-12, 1], "log": True}, "recipe.x.float", "1e-09"),
        ({"float": [0, math.inf]}, "recipe.x.float", "finite"),
        ({"float": [0, 1], "log": "yes"}, "recipe.x.log", "true or false"),
        ({"int": [0.5, 3]}, "recipe.x.int", "whole numbers"),
        ({"choice": []}, "recipe.x.choice", "at least one"),
        ({"choice": [1, 1]}, "recipe.x.choice", "once"),
        ({"choice": [1, 2], "log": True}, "recipe.x.log", "no scale"),
        ([1, 2], "recipe.x", "use a number"),
        (None, "recipe.x", "use a number"),
        ({"choice": [1, 2], "when": ["y"]}, "recipe.x.when", "other"),
        ({"choice": [1, 2], "when": {"z": [1]}}, "recipe.x.when.z", "no such dimension"),
        ({"choice": [1, 2], "when": {"y": [7]}}, "recipe.x.when.y", "never has this value"),
        ({"choice": [1, 2], "when": {"y": []}}, "recipe.x.when.y", "at least one"),
        ({"choice": [1, 2], "when": {"y": {}}}, "recipe.x.when.y", "min, max or both"),
        ({"choice": [1, 2], "when": {"y": {"least": 1}}}, "recipe.x.when.y.least", "known: max, min"),
        ({"choice": [1, 2], "when": {"y": {"min": 9}}}, "recipe.x.when.y", "never lies"),
        ({"choice": [1, 2], "when": {"w": {"min": 9}}}, "recipe.x.when.w", "numeric"),
        ({"choice": [1, 2], "when": {"v": [1]}}, "recipe.v.when", "circle"),
    ],
)
def test_an_unusable_entry_names_key_and_remedy(entry: object, key: str, remedy: str):
    others = {"y": {"int": [1, 3]}, "w": {"choice": ["a", "b"]}, "v": {"choice": [1, 2], "when": {"x": [1]}}}
    if "circle" not in remedy:
        del others["v"]
    with pytest.raises(OptionError) as caught:
        RecipeSpace({"x": entry, **others})
    assert caught.value.key == key
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("parent", "rule"),
    [
        ({"float": [0.0, 1.0]}, {"min": 0.5}),
        ({"float": [0.0, 1.0]}, {"max": 0.5}),
        ({"float": [0.0, 1.0]}, {"min": 0.25, "max": 0.5}),
        ({"int": [1, 5]}, {"min": 2, "max": 4}),
        ({"int": [1, 5]}, {"min": 0, "max": 9}),
        ({"choice": [1, 2, 4]}, {"min": 2}),
        (3, {"min": 2}),
        (3, [3]),
        ({"choice": [True, False]}, True),
    ],
)
def test_conditions_mean_the_same_to_config_space(parent: object, rule: object):
    space, rng = RecipeSpace({"a": parent, "b": {"choice": ["x", "y"], "when": {"a": rule}}}), Random(1)
    present = set()
    for _ in range(60):
        recipe = space.sample(rng)
        present.add("b" in recipe)
        Configuration(space.configuration_space, values=recipe).check_valid_configuration()
    assert True in present


def test_too_many_combinations_of_parents_are_not_counted():
    section = {"a": {"int": [1, 10**6]}, "b": {"choice": [1, 2], "when": {"a": {"min": 2}}}}
    assert RecipeSpace(section).size() is None
