"""Import and export of the DARTS notation (Liu, Simonyan and Yang, ICLR 2019, released code).

    Genotype(normal=[('sep_conv_3x3', 0), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))

Two (operation, predecessor) pairs a node, nodes in order. The text is parsed, never evaluated.
"""

from __future__ import annotations

import ast

from spark_nas.errors import OptionError
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts import CELLS, KEPT, NODES, OPERATIONS, choice_name
from spark_nas.spaces.dimensions import nearest

_FIELDS = {"normal": "normal", "reduction": "reduce"}
"""Our name of a cell -> the notation's."""
_SHAPE = "use Genotype(normal=[(op, i), ...], normal_concat=range(2, 6), reduce=[...], reduce_concat=range(2, 6))"


def to_genotype(architecture: Architecture) -> str:
    """A complete architecture in the DARTS notation; a node with fewer than two operations is filled with `none`."""
    fields = []
    for cell in CELLS:
        pairs: list[tuple[str, int]] = []
        for node in NODES:
            operations = [(architecture[choice_name(cell, source, node)], source) for source in range(node)]
            # Stable: kept edges first, then the unused sources that fill up, all in the order of the sources.
            pairs += sorted(sorted(operations, key=lambda pair: pair[0] == "none")[:KEPT], key=lambda pair: pair[1])
        fields.append(f"{_FIELDS[cell]}={pairs!r}, {_FIELDS[cell]}_concat=range(2, 6)")
    return f"Genotype({', '.join(fields)})"


def from_genotype(text: str) -> Architecture:
    """The architecture that a text in the DARTS notation names. Raises OptionError where it is none of this space."""
    call = _parse(text)
    fields = {keyword.arg: keyword.value for keyword in call.keywords}
    decisions: dict[str, str] = {}
    for cell, field in _FIELDS.items():
        concat = fields.get(f"{field}_concat")
        if concat is None or ast.unparse(concat) not in ("range(2, 6)", "[2, 3, 4, 5]"):
            raise OptionError(f"genotype.{field}_concat", concat and ast.unparse(concat), "use range(2, 6)")
        if field not in fields:
            raise OptionError("genotype", text, _SHAPE)
        decisions |= _cell(cell, _pairs(fields[field], f"genotype.{field}"), f"genotype.{field}")
    return Architecture(decisions)


def _parse(text: str) -> ast.Call:
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise OptionError("genotype", text, _SHAPE) from None
    if not isinstance(expression, ast.Call) or expression.args:
        raise OptionError("genotype", text, _SHAPE)
    return expression


def _pairs(node: ast.expr, key: str) -> list[tuple[str, int]]:
    try:
        pairs = [(operation, source) for operation, source in ast.literal_eval(node)]
    except (ValueError, TypeError):
        raise OptionError(key, ast.unparse(node), "use a list of (operation, predecessor)") from None
    if len(pairs) != KEPT * len(NODES):
        raise OptionError(key, pairs, f"use {KEPT * len(NODES)} pairs, {KEPT} for each of the nodes 2 to 5")
    for operation, source in pairs:
        if operation not in OPERATIONS:
            raise OptionError(key, operation, f"no such operation: {nearest(operation, OPERATIONS)}")
        if not isinstance(source, int) or isinstance(source, bool):
            raise OptionError(key, source, "use the number of an earlier node as predecessor")
    return pairs


def _cell(cell: str, pairs: list[tuple[str, int]], key: str) -> dict[str, str]:
    decisions = {choice_name(cell, source, node): "none" for node in NODES for source in range(node)}
    for index, node in enumerate(NODES):
        incoming = pairs[KEPT * index : KEPT * (index + 1)]
        sources = {source for _, source in incoming}
        if len(sources) != KEPT or not all(0 <= source < node for source in sources):
            raise OptionError(key, incoming, f"node {node} needs {KEPT} distinct predecessors among 0..{node - 1}")
        decisions |= {choice_name(cell, source, node): operation for operation, source in incoming}
    return decisions
