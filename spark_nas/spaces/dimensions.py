"""The dimensions of a recipe: one domain and the conditions under which it exists, parsed from YAML.

    learning_rate: {float: [1.0e-4, 0.1], log: true}      # a range of reals, uniform in the logarithm
    units_2: {int: [16, 512], log: true, when: {layers: {min: 2}}}
    activation: {choice: [relu, tanh]}
    momentum: 0.9                                         # a constant

Everything here is the standard library's; `config_space` makes a `ConfigSpace.ConfigurationSpace` of it.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from spark_nas.errors import OptionError

RecipeValue = int | float | str | bool

KINDS = ("float", "int", "choice")
_MODIFIERS = ("log", "when")
_EXPONENT_WITHOUT_POINT = re.compile(r"[-+]?\d+[eE][-+]?\d+")
_ROUNDING = 1e-9
"""ConfigSpace rounds the bounds of a float to nine decimals, so a smaller one would silently become 0."""


@dataclass(frozen=True, slots=True)
class Range:
    """All numbers (or all integers) from `low` to `high`, both included."""

    low: float
    high: float
    log: bool
    integer: bool

    def value(self, u: float) -> RecipeValue:
        """The value at `u` in [0, 1); an integer is rounded *after* the inverse warp, each with its own mass."""
        margin = 0.5 if self.integer else 0.0
        low, high = self.low - margin, self.high + margin
        warped = low * (high / low) ** u if self.log else low + u * (high - low)
        if self.integer:
            # floor(x + 1/2), not round(): half to even would favour even integers.
            return int(min(max(math.floor(warped + 0.5), self.low), self.high))
        return min(max(warped, self.low), self.high)

    def contains(self, value: object) -> bool:
        """Whether the type is right (an int is no bool, a float may be written as an int) and the bounds hold."""
        if isinstance(value, bool) or not isinstance(value, int if self.integer else (int, float)):
            return False
        return self.low <= value <= self.high

    def values(self) -> Iterable[RecipeValue] | None:
        """All values, or None where there are infinitely many."""
        return range(int(self.low), int(self.high) + 1) if self.integer else None

    def size(self) -> int | None:
        """The number of values, or None where there are infinitely many."""
        return int(self.high) - int(self.low) + 1 if self.integer else None


@dataclass(frozen=True, slots=True)
class OneOf:
    """A finite set of values in the order of the file; a constant is a set of one."""

    options: tuple[RecipeValue, ...]

    def value(self, u: float) -> RecipeValue:
        """The option at `u` in [0, 1)."""
        return self.options[min(int(u * len(self.options)), len(self.options) - 1)]

    def contains(self, value: object) -> bool:
        """Whether it is an option, of the same type (True is not 1)."""
        return any(same(value, option) for option in self.options)

    def values(self) -> Iterable[RecipeValue] | None:
        """The options."""
        return self.options

    def size(self) -> int | None:
        """The number of options."""
        return len(self.options)


Domain = Range | OneOf


@dataclass(frozen=True, slots=True)
class Condition:
    """The dimension exists where `parent` exists and has one of `values`, or lies within `low`..`high`."""

    parent: str
    values: tuple[RecipeValue, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    def holds(self, recipe: Mapping[str, RecipeValue]) -> bool:
        """Whether a recipe, complete as far as the parent, satisfies it."""
        if self.parent not in recipe:
            return False
        value = recipe[self.parent]
        if self.values:
            return any(same(value, allowed) for allowed in self.values)
        return not isinstance(value, str) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Dimension:
    """One entry of a recipe."""

    name: str
    domain: Domain
    when: tuple[Condition, ...] = ()

    def active(self, recipe: Mapping[str, RecipeValue]) -> bool:
        """Whether the dimension exists beside the values of its parents."""
        return all(condition.holds(recipe) for condition in self.when)


def same(left: object, right: object) -> bool:
    """Equality of two values that keeps bool apart from the numbers."""
    return left == right and isinstance(left, bool) == isinstance(right, bool)


def nearest(word: object, known: Iterable[str]) -> str:
    """A remedy that names the nearest known word and all of them."""
    words = sorted(known)
    close = difflib.get_close_matches(str(word), words, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(words) or 'none'}"


def parse_dimension(name: str, entry: object, key: str) -> Dimension:
    """One entry of the recipe section. Raises OptionError that names `key`, the value and the remedy."""
    if not isinstance(entry, Mapping):
        return Dimension(name, OneOf((_scalar(entry, key),)))
    for word in entry:
        if word not in KINDS + _MODIFIERS:
            raise OptionError(f"{key}.{word}", entry[word], f"unknown word: {nearest(word, KINDS + _MODIFIERS)}")
    kinds = [word for word in KINDS if word in entry]
    if len(kinds) != 1:
        raise OptionError(key, dict(entry), f"give exactly one of {', '.join(KINDS)}")
    kind, log = kinds[0], entry.get("log", False)
    if not isinstance(log, bool):
        raise OptionError(f"{key}.log", log, "use true or false")
    if kind == "choice" and log:
        raise OptionError(f"{key}.log", log, "a choice has no scale: drop log, or give a float or int range")
    where = f"{key}.{kind}"
    domain: Domain = _one_of(entry[kind], where) if kind == "choice" else _range(entry[kind], where, kind, log)
    return Dimension(name, domain, _conditions(entry.get("when", {}), f"{key}.when"))


def _scalar(value: object, key: str) -> RecipeValue:
    if isinstance(value, str) and _EXPONENT_WITHOUT_POINT.fullmatch(value):
        return float(value)  # YAML 1.1 reads 1e-4 as text; nobody means that
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(key, value, "use a finite number")
    if isinstance(value, bool | int | float | str):
        return value
    raise OptionError(key, value, "use a number, a text, true or false, or {float|int|choice: [...]}")


def _range(bounds: object, key: str, kind: str, log: bool) -> Range:
    if not isinstance(bounds, list | tuple) or len(bounds) != 2:
        raise OptionError(key, bounds, "use two bounds: [lowest, highest]")
    low, high = (_bound(bound, key, kind) for bound in bounds)
    if not low < high:
        raise OptionError(key, bounds, "the lower bound must be below the upper one; write a constant as `name: value`")
    if log and low <= 0:
        raise OptionError(key, bounds, "a log scale needs bounds above 0")
    if kind == "float" and any(0 < abs(bound) < _ROUNDING for bound in (low, high)):
        raise OptionError(key, bounds, f"bounds other than 0 must be at least {_ROUNDING:g}")
    return Range(low, high, log, kind == "int")


def _bound(bound: object, key: str, kind: str) -> float:
    value = _scalar(bound, key)
    if isinstance(value, str | bool):
        raise OptionError(key, bound, "use numbers as bounds")
    if kind == "int" and value != int(value):
        raise OptionError(key, bound, "use whole numbers as bounds, or a float range")
    return int(value) if kind == "int" else float(value)


def _one_of(options: object, key: str) -> OneOf:
    if not isinstance(options, list | tuple) or not options:
        raise OptionError(key, options, "use a list of at least one value")
    values = tuple(_scalar(option, key) for option in options)
    if any(same(a, b) for i, a in enumerate(values) for b in values[:i]):
        raise OptionError(key, options, "name each value once")
    return OneOf(values)


def _conditions(when: object, key: str) -> tuple[Condition, ...]:
    if not isinstance(when, Mapping):
        raise OptionError(key, when, "use {other: [values]} or {other: {min: 3}}")
    return tuple(_condition(str(parent), rule, f"{key}.{parent}") for parent, rule in sorted(when.items()))


def _condition(parent: str, rule: object, key: str) -> Condition:
    if isinstance(rule, Mapping):
        for word in rule:
            if word not in ("min", "max"):
                raise OptionError(f"{key}.{word}", rule[word], f"unknown word: {nearest(word, ('min', 'max'))}")
        if not rule:
            raise OptionError(key, dict(rule), "give min, max or both")
        low, high = (_bound(rule.get(w, d), f"{key}.{w}", "float") if w in rule else d for w, d in _OPEN_BOUNDS)
        return Condition(parent, low=low, high=high)
    rules = rule if isinstance(rule, list | tuple) else [rule]
    if not rules:
        raise OptionError(key, rule, "use a list of at least one value")
    return Condition(parent, values=tuple(_scalar(value, key) for value in rules))


_OPEN_BOUNDS = (("min", -math.inf), ("max", math.inf))
