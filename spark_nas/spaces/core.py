"""What a search space is: choices, their options, and assignments of the one to the other.

An architecture assigns options to choices. A choice that is left out is *open*; with all of them open the
architecture is the supernet (docs/decisions/0001). Everything here is plain Python: spaces are cheap to
import, to pickle and to test.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision and the names of its options, in a fixed order (parameters may be indexed by it)."""

    name: str
    options: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError("a choice needs a name")
        if not self.options or len(set(self.options)) != len(self.options):
            raise ValueError(f"choice {self.name!r} needs distinct options, got {self.options!r}")


class Architecture(Mapping[str, str]):
    """An immutable, hashable mapping of choice names to option names.

    >>> Architecture({"b": "x", "a": "y"}) == Architecture({"a": "y", "b": "x"})
    True
    """

    __slots__ = ("_hash", "_items")

    def __init__(self, decisions: Mapping[str, str] | None = None) -> None:
        self._items: dict[str, str] = dict(sorted((decisions or {}).items()))
        self._hash = hash(tuple(self._items.items()))

    def __getitem__(self, choice: str) -> str:
        return self._items[choice]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Architecture):
            return self._items == other._items
        return NotImplemented

    def __repr__(self) -> str:
        return f"Architecture({self._items!r})"

    def __reduce__(self) -> tuple[type[Architecture], tuple[dict[str, str]]]:
        # A string's hash differs between processes, so the cached one must not travel.
        return Architecture, (self._items,)

    def replace(self, decisions: Mapping[str, str]) -> Architecture:
        """The same architecture with some decisions changed or added."""
        return Architecture({**self._items, **decisions})

    def to_json(self) -> str:
        """Sorted keys, no spaces: equal architectures give equal text."""
        return json.dumps(self._items, sort_keys=True, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Architecture:
        """The inverse of `to_json`."""
        return Architecture(json.loads(text))


SUPERNET = Architecture()
"""All choices open."""


@runtime_checkable
class SearchSpace(Protocol):
    """What can be built, as decisions only: the networks are built in `evaluation.networks`.

    Laws (tests/contracts/test_spaces.py holds them for every space):

    - `sample` and `mutate` return complete architectures for which `contains` is true;
    - `mutate(a)` differs from `a` in what it decides;
    - `decode` returns the most probable valid complete architecture (independent choices: the argmax of each);
    - `canonical` is equal for architectures that compute the same function by construction;
    - the same `Random` state gives the same answer.
    """

    @property
    def name(self) -> str:
        """The name by which experiment files call it."""
        ...

    @property
    def choices(self) -> tuple[Choice, ...]:
        """All decisions, in a fixed order; empty where only the recipe varies."""
        ...

    def sample(self, rng: Random) -> Architecture:
        """A complete architecture, uniform over decisions (not over distinct graphs)."""
        ...

    def mutate(self, parent: Architecture, rng: Random) -> Architecture:
        """A complete architecture one decision away from `parent`."""
        ...

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Every architecture that `mutate` can reach in one step, each once."""
        ...

    def decode(self, probabilities: Mapping[str, Mapping[str, float]]) -> Architecture:
        """The most probable complete architecture; `probabilities[choice][option]` need not be normalised."""
        ...

    def contains(self, architecture: Architecture) -> bool:
        """Whether all decisions are known and valid together; open choices are allowed."""
        ...

    def encode(self, architecture: Architecture) -> tuple[float, ...]:
        """One-hot over choices and options in order; zeros for an open choice."""
        ...

    def canonical(self, architecture: Architecture) -> str:
        """A key shared by architectures that are the same network."""
        ...

    def size(self) -> int | None:
        """The number of complete architectures, or None where it is not known."""
        ...


def open_choices(space: SearchSpace, architecture: Architecture) -> list[str]:
    """The names of the choices that an architecture leaves open, in their order."""
    return [choice.name for choice in space.choices if choice.name not in architecture]


@dataclass(frozen=True)
class IndependentChoices:
    """A space whose choices do not constrain one another; spaces inherit it and vary one answer."""

    name: str
    choices: tuple[Choice, ...]

    def sample(self, rng: Random) -> Architecture:
        """Each choice uniform and independent."""
        return Architecture({choice.name: rng.choice(choice.options) for choice in self.choices})

    def mutate(self, parent: Architecture, rng: Random) -> Architecture:
        """Another option at one choice, both uniform; a space without choices returns the parent."""
        free = [choice for choice in self.choices if len(choice.options) > 1]
        if not free:
            return parent
        choice = rng.choice(free)
        others = [option for option in choice.options if option != parent[choice.name]]
        return parent.replace({choice.name: rng.choice(others)})

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """All single changes, in the order of the choices."""
        for choice in self.choices:
            for option in choice.options:
                if option != architecture[choice.name]:
                    yield architecture.replace({choice.name: option})

    def decode(self, probabilities: Mapping[str, Mapping[str, float]]) -> Architecture:
        """The argmax of each choice; the earlier option wins a tie."""
        decisions = {}
        for choice in self.choices:
            weights = probabilities[choice.name]
            # -i: the earlier of equals.
            decisions[choice.name] = max((weights.get(o, 0.0), -i, o) for i, o in enumerate(choice.options))[2]
        return Architecture(decisions)

    def contains(self, architecture: Architecture) -> bool:
        """Whether each decision names a known choice and one of its options."""
        options = {choice.name: choice.options for choice in self.choices}
        return all(option in options.get(name, ()) for name, option in architecture.items())

    def encode(self, architecture: Architecture) -> tuple[float, ...]:
        """One-hot over choices and options in order."""
        return tuple(float(architecture.get(c.name) == option) for c in self.choices for option in c.options)

    def canonical(self, architecture: Architecture) -> str:
        """The sorted JSON: every assignment counts as its own network."""
        return architecture.to_json()

    def size(self) -> int | None:
        """The product of the numbers of options."""
        return math.prod(len(choice.options) for choice in self.choices)
