"""Import and export of the DARTS notation (Liu, Simonyan and Yang, ICLR 2019, released code).

    Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))

Two (operation, predecessor) pairs a node, nodes in order. The text is parsed, never evaluated.
"""

from __future__ import annotations

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts import CELLS, KEPT, NODES, OPERATIONS, choice_name
from spark_nas.spaces.genotype import Pairs, check_concat, fields_of, pairs_of

_FIELDS = {"normal": "normal", "reduction": "reduce"}
"""Our name of a cell -> the notation's."""
_SHAPE = "use Genotype(normal=[(op, i), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))"


def to_genotype(architecture: Architecture) -> str:
    """A complete architecture in the DARTS notation; a node with fewer than two operations is filled with `none`."""
    fields = []
    for cell in CELLS:
        pairs: Pairs = []
        for node in NODES:
            operations = [(architecture[choice_name(cell, source, node)], source) for source in range(node)]
            # Stable: kept edges first, then the unused sources that fill up, all in the order of the sources.
            pairs += sorted(sorted(operations, key=lambda pair: pair[0] == "none")[:KEPT], key=lambda pair: pair[1])
        fields.append(f"{_FIELDS[cell]}={pairs!r}, {_FIELDS[cell]}_concat=range(2, 6)")
    return f"Genotype({', '.join(fields)})"


def from_genotype(text: str) -> Architecture:
    """The architecture that a text in the DARTS notation names. Raises OptionError where it is none of this space."""
    fields = fields_of(text, _SHAPE)
    decisions: dict[str, str] = {}
    for cell, field in _FIELDS.items():
        check_concat(fields, f"{field}_concat", range(NODES[0], NODES[-1] + 1))
        if field not in fields:
            raise OptionError("genotype", text, _SHAPE)
        key = f"genotype.{field}"
        pairs = pairs_of(fields[field], key, OPERATIONS)
        if len(pairs) != KEPT * len(NODES):
            raise OptionError(key, pairs, f"use {KEPT * len(NODES)} pairs, {KEPT} for each of the nodes 2 to 5")
        decisions |= _cell(cell, pairs, key)
    return Architecture(decisions)


def _cell(cell: str, pairs: Pairs, key: str) -> dict[str, str]:
    decisions = {choice_name(cell, source, node): "none" for node in NODES for source in range(node)}
    for index, node in enumerate(NODES):
        incoming = pairs[KEPT * index : KEPT * (index + 1)]
        sources = {source for _, source in incoming}
        if len(sources) != KEPT or not all(0 <= source < node for source in sources):
            raise OptionError(key, incoming, f"node {node} needs {KEPT} distinct predecessors among 0..{node - 1}")
        decisions |= {choice_name(cell, source, node): operation for operation, source in incoming}
    return decisions
