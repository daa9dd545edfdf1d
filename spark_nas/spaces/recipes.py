"""Recipe spaces: training settings and network scale.

Continuous, logarithmic, integer, categorical and conditional dimensions in a fixed order. Values are drawn here, from
the caller's `random.Random` alone; `configuration_space` hands the same space on as a `ConfigSpace.ConfigurationSpace`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any

from spark_nas.errors import OptionError, UsageError
from spark_nas.spaces.dimensions import Condition, Dimension, OneOf, RecipeValue, nearest, parse_dimension

if TYPE_CHECKING:
    from ConfigSpace import ConfigurationSpace

_COUNTABLE = 100_000
"""Combinations of parents' values that `size` is ready to visit."""


_to_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
"""`json.dumps` would make this encoder anew for each recipe."""


class RecipeSpace:
    """All recipes that one recipe section describes.

    Laws:

    - `sample` returns a recipe that `contains` accepts; a dimension whose condition fails is absent from it;
    - values are plain int, float, str and bool, and survive JSON unchanged;
    - the same `Random` state gives the same recipe, whatever the order of the section's keys;
    - each call of `sample` draws exactly one number a dimension, active or not.

    >>> space = RecipeSpace({"layers": {"int": [1, 2]}, "units": {"choice": [8, 16], "when": {"layers": {"min": 2}}}})
    >>> space.names, space.size(), space.contains({"layers": 1}), space.contains({"layers": 1, "units": 8})
    (('layers', 'units'), 3, True, False)
    """

    def __init__(self, section: Mapping[str, object] | None = None, *, key: str = "recipe") -> None:
        """Parse a recipe section. Raises OptionError that names the key under `key`, the value and the remedy."""
        dimensions = {
            str(name): parse_dimension(str(name), entry, f"{key}.{name}") for name, entry in (section or {}).items()
        }
        self.dimensions: tuple[Dimension, ...] = _parents_first(dimensions, key)
        # What each of a hundred thousand samples would otherwise ask of every dimension again.
        self._draws = [(each.name, each.domain.value, each.active if each.when else None) for each in self.dimensions]
        self._reals = frozenset(
            each.name for each in self.dimensions if not isinstance(each.domain, OneOf) and not each.domain.integer
        )

    @property
    def names(self) -> tuple[str, ...]:
        """All names, active or not: parents before the dimensions they condition, else by the alphabet."""
        return tuple(dimension.name for dimension in self.dimensions)

    def sample(self, rng: Random) -> dict[str, RecipeValue]:
        """One recipe, each dimension uniform on its scale and independent; inactive dimensions are absent."""
        recipe: dict[str, RecipeValue] = {}
        for name, value, active in self._draws:
            drawn = value(rng.random())
            if active is None or active(recipe):
                recipe[name] = drawn
        return recipe

    def contains(self, recipe: Mapping[str, object]) -> bool:
        """Whether exactly the active dimensions are there, each with a value of its domain."""
        seen: dict[str, Any] = {}  # Any: values are only known to be recipe values once a domain has said so
        for dimension in self.dimensions:
            if dimension.name in recipe and dimension.active(seen):
                if not dimension.domain.contains(recipe[dimension.name]):
                    return False
                seen[dimension.name] = recipe[dimension.name]
            elif dimension.name in recipe or dimension.active(seen):
                return False
        return len(seen) == len(recipe)

    def canonical(self, recipe: Mapping[str, RecipeValue]) -> str:
        """A key of the recipe: JSON with sorted keys; a whole number in a float dimension is written as a float."""
        plain = {name: float(value) if name in self._reals else value for name, value in recipe.items()}
        return _to_json(plain)

    def size(self) -> int | None:
        """The number of recipes; None where there are infinitely many, or too many conditions to count."""
        sizes = {d.name: d.domain.size() for d in self.dimensions}
        if any(size is None for size in sizes.values()):
            return None
        parents = {condition.parent for dimension in self.dimensions for condition in dimension.when}
        if math.prod(sizes[name] or 0 for name in parents) > _COUNTABLE:
            return None
        return self._count(0, {}, parents)

    def _count(self, index: int, recipe: dict[str, RecipeValue], parents: set[str]) -> int:
        if index == len(self.dimensions):
            return 1
        dimension = self.dimensions[index]
        if not dimension.active(recipe):
            return self._count(index + 1, recipe, parents)
        if dimension.name not in parents:
            return (dimension.domain.size() or 0) * self._count(index + 1, recipe, parents)
        values = dimension.domain.values() or ()
        return sum(self._count(index + 1, {**recipe, dimension.name: value}, parents) for value in values)

    @cached_property
    def configuration_space(self) -> ConfigurationSpace:
        """The same space in ConfigSpace's terms, the form in which a model-based sampler of one's own can take it.

        No sampler here reads it. Raises UsageError where the extra `configspace` is not installed.
        """
        try:
            from spark_nas.spaces.config_space import configuration_space
        except ModuleNotFoundError as error:
            raise UsageError(f"{error.name} is not installed; pip install 'spark_nas[configspace]'") from error

        return configuration_space(self.dimensions)


def _parents_first(dimensions: Mapping[str, Dimension], key: str) -> tuple[Dimension, ...]:
    ordered: dict[str, Dimension] = {}
    waiting = {name: dimensions[name] for name in sorted(dimensions)}
    for name, dimension in waiting.items():
        for condition in dimension.when:
            _check_parent(dimensions, name, condition, f"{key}.{name}.when.{condition.parent}")
    while waiting:
        ready = [name for name, d in waiting.items() if all(c.parent in ordered for c in d.when)]
        if not ready:
            raise OptionError(f"{key}.{next(iter(waiting))}.when", sorted(waiting), "conditions must not form a circle")
        ordered |= {name: waiting.pop(name) for name in ready}
    return tuple(ordered.values())


def _check_parent(dimensions: Mapping[str, Dimension], name: str, condition: Condition, key: str) -> None:
    others = [other for other in dimensions if other != name]
    if condition.parent not in others:
        raise OptionError(key, condition.parent, f"no such dimension: {nearest(condition.parent, others)}")
    domain = dimensions[condition.parent].domain
    for value in condition.values:
        if not domain.contains(value):
            raise OptionError(key, value, f"{condition.parent} never has this value")
    if condition.values:
        return
    low, high = condition.low, condition.high
    limits = {word: bound for word, bound in (("min", low), ("max", high)) if math.isfinite(bound)}
    candidates = domain.options if isinstance(domain, OneOf) else (max(low, domain.low),)
    if any(isinstance(value, str) for value in candidates):
        raise OptionError(key, limits, "min and max need a numeric dimension")
    upper = min(high, math.inf if isinstance(domain, OneOf) else domain.high)
    if not any(low <= value <= upper for value in candidates if not isinstance(value, str)):
        raise OptionError(key, limits, f"{condition.parent} never lies within these bounds")
