"""A drawing of an architecture: named nodes and labelled, directed edges, in the order of the data flow.

Spaces describe themselves as a `Graph`; the report lays it out. Nothing here knows of networks or plots.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """A state of the network: a tensor, or a block that is drawn as one."""

    name: str
    """Unique within the graph."""
    label: str
    """What a reader sees."""
    group: str = ""
    """Nodes of one group are drawn together (a cell); empty for the skeleton."""


@dataclass(frozen=True, slots=True)
class Edge:
    """An operation from one node to another; an empty label is a plain connection."""

    source: str
    target: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes and edges; every edge leads from a node to a later one, so a graph is acyclic by construction."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def __post_init__(self) -> None:
        position = {node.name: index for index, node in enumerate(self.nodes)}
        if len(position) != len(self.nodes):
            raise ValueError("the names of a graph's nodes must be distinct")
        for edge in self.edges:
            if edge.source not in position or edge.target not in position:
                raise ValueError(f"edge {edge.source!r} -> {edge.target!r} names an unknown node")
            if position[edge.source] >= position[edge.target]:
                raise ValueError(f"edge {edge.source!r} -> {edge.target!r} leads backwards")


def chain(nodes: tuple[Node, ...], labels: tuple[str, ...] = ()) -> Graph:
    """Nodes one after another; `labels[i]` is written on the edge that leaves node i."""
    padded = labels + ("",) * (len(nodes) - 1 - len(labels))
    pairs = zip(nodes[:-1], nodes[1:], padded, strict=True)
    return Graph(nodes, tuple(Edge(a.name, b.name, label) for a, b, label in pairs))
