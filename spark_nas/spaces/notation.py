"""Architectures as their papers write them down: read what was published, and hand on what was found.

DARTS cells have their genotypes, ENAS its arcs, NAS-Bench-201 its strings; every space also reads and writes JSON,
choice -> option.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from spark_nas.errors import OptionError
from spark_nas.spaces import darts_genotype, darts_rnn_genotype, enas_macro, enas_micro, nas_bench_201
from spark_nas.spaces.core import Architecture, SearchSpace


class Notation(NamedTuple):
    """How the architectures of a space are written; both take the space's options dataclass first."""

    write: Callable[[Any, Architecture], str]
    read: Callable[[Any, str], Architecture]


NOTATIONS: Mapping[str, Notation] = {
    "darts": Notation(
        lambda options, architecture: darts_genotype.to_genotype(architecture),
        lambda options, text: darts_genotype.from_genotype(text),
    ),
    "darts_rnn": Notation(
        lambda options, architecture: darts_rnn_genotype.to_genotype(architecture, options),
        lambda options, text: darts_rnn_genotype.from_genotype(text, options),
    ),
    "enas_macro": Notation(
        lambda options, architecture: enas_macro.to_arc(architecture), lambda options, text: enas_macro.from_arc(text)
    ),
    "enas_micro": Notation(
        lambda options, architecture: enas_micro.to_arc(architecture), lambda options, text: enas_micro.from_arc(text)
    ),
    "nas_bench_201": Notation(
        lambda options, architecture: nas_bench_201.to_string(architecture),
        lambda options, text: nas_bench_201.from_string(text),
    ),
}


def write(space: SearchSpace, architecture: Architecture) -> str:
    """A complete architecture in its paper's notation, or as JSON where there is none."""
    notation = NOTATIONS.get(space.name)
    return architecture.to_json() if notation is None else notation.write(getattr(space, "options", None), architecture)


def read(space: SearchSpace, text: str) -> Architecture:
    """The complete architecture that a text names, in the paper's notation or as JSON.

    Raises OptionError for a text that names none of the space.
    """
    if text.lstrip().startswith("{"):
        architecture = _from_json(text)
    elif space.name in NOTATIONS:
        architecture = NOTATIONS[space.name].read(getattr(space, "options", None), text)
    else:
        raise OptionError("architectures", text, f"{space.name} has no notation of its own: use JSON, choice -> option")
    missing = [choice.name for choice in space.choices if choice.name not in architecture]
    if missing or not space.contains(architecture):
        reason = f"leaves {missing[0]!r} open" if missing else f"is not in the space {space.name}"
        raise OptionError("architectures", text, f"{reason}: give one option for every choice")
    return architecture


def _from_json(text: str) -> Architecture:
    try:
        decisions = json.loads(text)
    except json.JSONDecodeError as error:
        raise OptionError("architectures", text, f"is not JSON: {error}") from error
    if not all(isinstance(option, str) for option in decisions.values()):
        raise OptionError("architectures", text, 'use {"choice": "option", ...}')
    return Architecture(decisions)
