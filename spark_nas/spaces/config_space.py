"""A recipe space as a `ConfigSpace.ConfigurationSpace`: the exchange format of model-based samplers.

Imported only where one is asked for (`recipes.RecipeSpace.configuration_space`); it needs the extra `configspace`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ConfigSpace import (
    AndConjunction,
    Categorical,
    ConfigurationSpace,
    Constant,
    Float,
    GreaterThanCondition,
    InCondition,
    Integer,
    LessThanCondition,
)
from ConfigSpace.hyperparameters import Hyperparameter

from spark_nas.spaces.dimensions import Condition, Dimension, OneOf


def configuration_space(dimensions: Iterable[Dimension]) -> ConfigurationSpace:
    """The space of these dimensions, parents before those that they condition."""
    space, dimensions = ConfigurationSpace(), tuple(dimensions)
    for dimension in dimensions:
        space.add(_hyperparameter(dimension))
    for dimension in dimensions:
        terms = [term for condition in dimension.when for term in _conditions(space, dimension, condition)]
        if terms:
            space.add(terms[0] if len(terms) == 1 else AndConjunction(*terms))
    return space


def _hyperparameter(dimension: Dimension) -> Hyperparameter[Any, Any]:  # Any: its value types are numpy's
    domain, name = dimension.domain, dimension.name
    if isinstance(domain, OneOf):
        if len(domain.options) == 1:
            return Constant(name, domain.options[0])
        return Categorical(name, list(domain.options))
    if domain.integer:
        return Integer(name, (int(domain.low), int(domain.high)), log=domain.log)
    return Float(name, (domain.low, domain.high), log=domain.log)


def _conditions(space: ConfigurationSpace, dimension: Dimension, condition: Condition) -> list[Any]:
    child: Any = space[dimension.name]  # Any: which attributes a parent has depends on its kind
    parent: Any = space[condition.parent]
    if condition.values:
        return [InCondition(child, parent, list(condition.values))]
    if isinstance(parent, Constant) or not hasattr(parent, "lower"):
        # ConfigSpace compares ordered parents only; a set of numbers is listed instead.
        options = [parent.value] if isinstance(parent, Constant) else list(parent.choices)
        return [InCondition(child, parent, [o for o in options if condition.low <= o <= condition.high])]
    terms: list[Any] = []
    integer = isinstance(parent.lower, int)
    if condition.low > parent.lower:  # ConfigSpace's comparisons are strict, ours include the bound
        below = math.ceil(condition.low) - 1 if integer else math.nextafter(condition.low, -math.inf)
        terms.append(GreaterThanCondition(child, parent, below))
    if condition.high < parent.upper:
        above = math.floor(condition.high) + 1 if integer else math.nextafter(condition.high, math.inf)
        terms.append(LessThanCondition(child, parent, above))
    return terms
