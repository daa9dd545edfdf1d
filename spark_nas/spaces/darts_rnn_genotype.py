"""Import and export of recurrent cells in the DARTS notation (Liu, Simonyan and Yang, ICLR 2019, released code).

    Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ...], concat=range(1, 9))

One (operation, predecessor) pair a node, nodes in order; predecessor 0 is the initial state.
"""

from __future__ import annotations

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts_rnn import ACTIVATIONS, DartsRnn, kept
from spark_nas.spaces.genotype import check_concat, fields_of, pairs_of

_SHAPE = "use Genotype(recurrent=[(op, i), ...], concat=range(1, 9))"


def to_genotype(architecture: Architecture, options: DartsRnn | None = None) -> str:
    """A complete architecture in the DARTS notation; `options` says how many nodes there are where it is not 8."""
    numbers = (options or DartsRnn()).numbers
    pairs = [(activation, source) for source, activation in (kept(architecture, node) for node in numbers)]
    return f"Genotype(recurrent={pairs!r}, concat={numbers!r})"


def from_genotype(text: str, options: DartsRnn | None = None) -> Architecture:
    """The architecture that a text in the DARTS notation names. Raises OptionError where it is none of the space."""
    options = options or DartsRnn()
    fields, key = fields_of(text, _SHAPE), "genotype.recurrent"
    check_concat(fields, "concat", options.numbers)
    if "recurrent" not in fields:
        raise OptionError("genotype", text, _SHAPE)
    pairs = pairs_of(fields["recurrent"], key, ACTIVATIONS)
    if len(pairs) != options.nodes:
        raise OptionError(key, pairs, f"use {options.nodes} pairs, one a node")
    for node, (_, source) in zip(options.numbers, pairs, strict=True):
        if not 0 <= source < node:
            raise OptionError(key, source, f"node {node} needs a predecessor among 0..{node - 1}")
    decisions = {node: (source, option) for node, (option, source) in zip(options.numbers, pairs, strict=True)}
    return options.build().cell(decisions)
