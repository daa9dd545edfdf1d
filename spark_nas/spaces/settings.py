"""Reading network settings out of a recipe, which overrides the space's own options."""

from __future__ import annotations

from collections.abc import Mapping

from spark_nas.errors import OptionError
from spark_nas.spaces.dimensions import RecipeValue


def whole_number(
    recipe: Mapping[str, RecipeValue], key: str, default: int, *, least: int = 1, most: int | None = None
) -> int:
    """`recipe[key]`, or `default` where the recipe is silent.

    Raises OptionError for no integer, below `least` or above `most`.
    """
    value = recipe.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        limit = "" if most is None else f" and at most {most}"
        raise OptionError(key, value, f"use a whole number of at least {least}{limit}")
    return value


def fraction(recipe: Mapping[str, RecipeValue], key: str, default: float) -> float:
    """`recipe[key]` as a probability in [0, 1). Raises OptionError for anything else."""
    value = recipe.get(key, default)
    if isinstance(value, bool | str) or not 0 <= value < 1:
        raise OptionError(key, value, "use a number of at least 0 and below 1")
    return float(value)
