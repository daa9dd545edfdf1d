"""Reading texts in the DARTS notation, `Genotype(field=[(operation, predecessor), ...], field_concat=range(a, b))`.

The text is parsed, never evaluated. What the fields mean is the spaces' own (`darts_genotype`, `darts_rnn_genotype`).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from spark_nas.errors import OptionError
from spark_nas.spaces.dimensions import nearest

Pairs = list[tuple[str, int]]
"""(operation, predecessor), in the order of the text."""


def fields_of(text: str, shape: str) -> Mapping[str, ast.expr]:
    """The keyword arguments of the call that the text is. Raises OptionError that shows the `shape` to use."""
    try:
        expression = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise OptionError("genotype", text, shape) from None
    if not isinstance(expression, ast.Call) or expression.args:
        raise OptionError("genotype", text, shape)
    return {keyword.arg: keyword.value for keyword in expression.keywords if keyword.arg is not None}


def pairs_of(node: ast.expr, key: str, operations: Sequence[str]) -> Pairs:
    """A list of (operation, predecessor), the operations known. Raises OptionError for anything else."""
    try:
        pairs = [(operation, source) for operation, source in ast.literal_eval(node)]
    except (ValueError, TypeError):
        raise OptionError(key, ast.unparse(node), "use a list of (operation, predecessor)") from None
    for operation, source in pairs:
        if operation not in operations:
            raise OptionError(key, operation, f"no such operation: {nearest(operation, operations)}")
        if not isinstance(source, int) or isinstance(source, bool):
            raise OptionError(key, source, "use the number of an earlier node as predecessor")
    return pairs


def check_concat(fields: Mapping[str, ast.expr], field: str, nodes: range) -> None:
    """Raise OptionError unless the field names all of `nodes`, as a range or as a list."""
    concat = fields.get(field)
    wanted = f"range({nodes.start}, {nodes.stop})"
    if concat is None or ast.unparse(concat) not in (wanted, str(list(nodes))):
        raise OptionError(f"genotype.{field}", concat and ast.unparse(concat), f"use {wanted}")
