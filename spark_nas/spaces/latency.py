"""Latency as a sum over choices: the model that makes hardware a differentiable objective (ProxylessNAS, section 3.3).

    E[latency] = fixed + sum over choices, sum over options  p(option) * latency(option)

`fixed` is what runs whatever is decided. Options that are drawn independently make this the exact mean over the sampled
networks, and it is linear in the probabilities, so its gradient is the table itself. The table is measured on the
device in question (`evaluation.latency.measure`) or comes from a JSON file:

    {"fixed": 1.5, "options": {"stage0/block0": {"mbconv3_e3": 0.31, "mbconv3_e6": 0.58}}}

All values are milliseconds; any other cost that adds up over choices (parameters, joules) may stand in their place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture

Probability = TypeVar("Probability")
"""A float, or whatever multiplies with and adds to floats: a scalar tensor."""
_KEY = "latency"
_REMEDY = 'use {"fixed": MS, "options": {CHOICE: {OPTION: MS}}}'


@dataclass(frozen=True)
class LatencyTable:
    """Milliseconds of each option of each choice of one space, on one device, at one input shape.

    Raises OptionError where a value is no finite number of at least 0.
    """

    fixed: float
    """Of all that is not chosen."""
    options: Mapping[str, Mapping[str, float]]
    """choice -> option -> milliseconds."""

    def __post_init__(self) -> None:
        _check("fixed", self.fixed)
        for choice, entries in self.options.items():
            for option, value in entries.items():
                _check(f"{choice}/{option}", value)

    def of(self, architecture: Architecture) -> float:
        """Milliseconds of a complete architecture. Raises OptionError for an open choice and for a missing entry."""
        return self.expected({choice: {option: 1.0} for choice, option in architecture.items()})

    def expected(self, probabilities: Mapping[str, Mapping[str, Probability]]) -> Probability:
        """The mean over architectures whose options are drawn independently; options left out have probability 0.

        Raises OptionError where the table has no entry for an option, and where it has a choice without
        probabilities: either way the sum would be too small.
        """
        for choice in self.options:
            if choice not in probabilities:
                raise OptionError(_KEY, choice, "is a choice of the table without a decision or probabilities")
        total: Any = self.fixed
        for choice, weights in probabilities.items():
            entries = self.options.get(choice, {})
            for option, weight in weights.items():
                if option not in entries:
                    raise OptionError(
                        _KEY, f"{choice}/{option}", "has no entry in the latency table: measure or add it"
                    )
                total = total + cast(Any, weight) * entries[option]
        return cast(Probability, total)

    def to_json(self) -> str:
        """The table as a file holds it, with sorted keys."""
        return json.dumps({"fixed": self.fixed, "options": self.options}, sort_keys=True, indent=1)

    @staticmethod
    def from_json(text: str) -> LatencyTable:
        """The inverse of `to_json`. Raises OptionError for text that is no table."""
        try:
            document = json.loads(text)
        except ValueError as error:
            raise OptionError(_KEY, text[:40], f"is not JSON ({error}): {_REMEDY}") from error
        return LatencyTable.of_mapping(document)

    @staticmethod
    def of_mapping(document: object) -> LatencyTable:
        """The table in what a file holds. Raises OptionError for what is none."""
        if not isinstance(document, Mapping) or document.keys() != {"fixed", "options"}:
            raise OptionError(_KEY, str(document)[:40], _REMEDY)
        options = document["options"]
        if not isinstance(options, Mapping) or not all(isinstance(entries, Mapping) for entries in options.values()):
            raise OptionError(_KEY, "options", _REMEDY)
        return LatencyTable(document["fixed"], options)

    @staticmethod
    def read(path: str) -> LatencyTable:
        """The table in a local JSON file. Raises OptionError where there is none."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise OptionError(_KEY, path, f"cannot be read: {error}") from error
        return LatencyTable.from_json(text)


def _check(entry: str, value: object) -> None:
    # Also what came from JSON, where anything may stand.
    if isinstance(value, bool) or not isinstance(value, int | float) or not (0 <= value < math.inf):
        raise OptionError(f"{_KEY}.{entry}", value, "use a finite number of milliseconds, at least 0")
