"""Cells as graphs: which choices are the incoming edges of one node.

A choice that decides the operation on an edge is called `source->target`, or `cell/source->target` where there are
several cells. Methods that weigh the edges of a node against one another (PC-DARTS: Xu et al., ICLR 2020, section 3.3)
need to know which belong together.
"""

from __future__ import annotations

import re

from spark_nas.errors import OptionError
from spark_nas.spaces.core import SearchSpace

_EDGE = re.compile(r"(?:(?P<cell>.+)/)?(?P<source>\d+)->(?P<target>\d+)")


def incoming(space: SearchSpace) -> dict[str, tuple[str, ...]]:
    """Node (`target` or `cell/target`) -> the choices on its incoming edges, both in the order of the choices.

    Raises OptionError for a space with other choices, or with none.
    """
    nodes: dict[str, list[str]] = {}
    for choice in space.choices:
        edge = _EDGE.fullmatch(choice.name)
        if edge is None:
            remedy = (
                f"its choice {choice.name!r} is no edge of a cell, so there are no edges to weigh: use a cell space"
            )
            raise OptionError("space", space.name, remedy)
        node = edge["target"] if edge["cell"] is None else f"{edge['cell']}/{edge['target']}"
        nodes.setdefault(node, []).append(choice.name)
    if not nodes:
        raise OptionError("space", space.name, "has no choices, so there are no edges to weigh: use a cell space")
    return {node: tuple(names) for node, names in nodes.items()}
