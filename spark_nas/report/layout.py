"""A layered drawing of a directed acyclic graph: Sugiyama, Tagawa & Toda (1981), from left to right.

Layers by longest paths, dummies where an edge spans several layers, barycentres against crossings, and least-squares
positions within a layer (pool-adjacent-violators keeps the order). Long networks are broken into rows, like text,
at places that only one vertex's output crosses.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx  # type: ignore[import-untyped]

Vertex = Hashable
Size = tuple[float, float]
Point = tuple[float, float]

_GAP_X, _GAP_Y, _ROW_GAP = 44.0, 14.0, 56.0
_SWEEPS = 12
_NEAR = 2
"""Layers within which a line to the next row must end; so a cell is never torn."""


@dataclass(frozen=True)
class Layout:
    """Where everything stands, in pixels; the origin is the upper left corner."""

    centres: Mapping[Vertex, Point]
    routes: Mapping[tuple[Vertex, Vertex], tuple[Point, ...]]
    """For each edge, the points it passes, from the right side of its source to the left side of its target."""
    rows: Mapping[Vertex, int]
    """The row in which a vertex stands."""
    gutters: tuple[float, ...]
    """The height below each row at which a line may go over to the next."""
    width: float
    height: float


@dataclass(frozen=True)
class _Dummy:
    edge: tuple[Vertex, Vertex]
    rank: int


def layered(graph: nx.DiGraph, sizes: Mapping[Vertex, Size], width: float) -> Layout:
    """Lay out an acyclic graph; `sizes` are (width, height) of the vertices, `width` is where rows break."""
    ranks = _ranks(graph)
    chains, layers, neighbours = _with_dummies(graph, ranks)
    _reduce_crossings(layers, neighbours)
    size = {vertex: sizes.get(vertex, (0.0, 6.0)) for layer in layers for vertex in layer}
    y = _vertical(layers, neighbours, size)
    widths = [max(size[vertex][0] for vertex in layer) for layer in layers]
    rows = _rows(graph, ranks, widths, width)
    x, row_of_layer, total = _horizontal(widths, rows)
    y_of_row, gutters, height = _stack(layers, y, size, row_of_layer)
    centres = {v: (x[i], y[v] + y_of_row[row_of_layer[i]]) for i, layer in enumerate(layers) for v in layer}
    routes = {edge: _route(chain, centres, size) for edge, chain in chains.items()}
    return Layout(
        centres={vertex: centres[vertex] for vertex in graph},
        routes=routes,
        rows={vertex: row_of_layer[ranks[vertex]] for vertex in graph},
        gutters=gutters,
        width=total,
        height=height,
    )


def _ranks(graph: nx.DiGraph) -> dict[Vertex, int]:
    """Longest path from a source; a source itself stands right before its first successor."""
    order = list(nx.topological_sort(graph))
    ranks: dict[Vertex, int] = {}
    for vertex in order:
        ranks[vertex] = max((ranks[before] + 1 for before in graph.predecessors(vertex)), default=0)
    for vertex in order:
        if not graph.in_degree(vertex) and graph.out_degree(vertex):
            ranks[vertex] = min(ranks[after] for after in graph.successors(vertex)) - 1
    return ranks


def _with_dummies(
    graph: nx.DiGraph, ranks: Mapping[Vertex, int]
) -> tuple[
    dict[tuple[Vertex, Vertex], list[Vertex]], list[list[Vertex]], dict[Vertex, tuple[list[Vertex], list[Vertex]]]
]:
    """Each edge as a chain through one vertex a layer; the layers; and the neighbours before and after each vertex."""
    layers: list[list[Vertex]] = [[] for _ in range(max(ranks.values()) + 1)]
    for vertex in graph:
        layers[ranks[vertex]].append(vertex)
    chains: dict[tuple[Vertex, Vertex], list[Vertex]] = {}
    for edge in graph.edges:
        dummies = [_Dummy(edge, rank) for rank in range(ranks[edge[0]] + 1, ranks[edge[1]])]
        for dummy in dummies:
            layers[dummy.rank].append(dummy)
        chains[edge] = [edge[0], *dummies, edge[1]]
    neighbours: dict[Vertex, tuple[list[Vertex], list[Vertex]]] = {v: ([], []) for layer in layers for v in layer}
    for chain in chains.values():
        for before, after in pairwise(chain):
            neighbours[before][1].append(after)
            neighbours[after][0].append(before)
    return chains, layers, neighbours


def _reduce_crossings(
    layers: list[list[Vertex]], neighbours: Mapping[Vertex, tuple[list[Vertex], list[Vertex]]]
) -> None:
    """Sort each layer by the mean place of its neighbours, sweeping to and fro."""
    for sweep in range(_SWEEPS):
        side = sweep % 2
        for layer in layers if side == 0 else reversed(layers):
            place = {v: i / max(1, len(other) - 1) for other in layers for i, v in enumerate(other)}
            means = {
                v: sum(place[n] for n in neighbours[v][side]) / len(neighbours[v][side])
                if neighbours[v][side]
                else place[v]
                for v in layer
            }
            layer.sort(key=means.__getitem__)


def _vertical(
    layers: Sequence[Sequence[Vertex]],
    neighbours: Mapping[Vertex, tuple[list[Vertex], list[Vertex]]],
    size: Mapping[Vertex, Size],
) -> dict[Vertex, float]:
    """Centres within a row: each vertex as near to the mean of its neighbours as the order in its layer lets it."""
    y: dict[Vertex, float] = {}
    for layer in layers:
        _place(layer, [0.0] * len(layer), size, y)
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            both = sweep >= _SWEEPS // 2
            wanted = []
            for vertex in layer:
                near = neighbours[vertex][0] + neighbours[vertex][1] if both else neighbours[vertex][sweep % 2]
                wanted.append(sum(y[n] for n in near) / len(near) if near else y[vertex])
            _place(layer, wanted, size, y)
    return y


def _place(
    layer: Sequence[Vertex], wanted: Sequence[float], size: Mapping[Vertex, Size], y: dict[Vertex, float]
) -> None:
    """Least squares to the wanted places under the order and the distances of the layer."""
    offsets, reach = [], 0.0
    for index, vertex in enumerate(layer):
        if index:
            reach += (size[layer[index - 1]][1] + size[vertex][1]) / 2 + _GAP_Y
        offsets.append(reach)
    pools: list[tuple[float, int]] = []
    for want, offset in zip(wanted, offsets, strict=True):
        total, count = want - offset, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    means = [total / count for total, count in pools for _ in range(count)]
    for vertex, mean, offset in zip(layer, means, offsets, strict=True):
        y[vertex] = mean + offset


def _rows(graph: nx.DiGraph, ranks: Mapping[Vertex, int], widths: Sequence[float], width: float) -> list[range]:
    """Ranges of layers that fill a row each; a row ends where one vertex of its last layer goes on, not far."""
    crossing: list[set[Vertex]] = [set() for _ in widths]
    longest = [0 for _ in widths]
    for source, target in graph.edges:
        for rank in range(ranks[source], ranks[target]):
            crossing[rank].add(source)
            longest[rank] = max(longest[rank], ranks[target] - rank)
    rows, start, last_good, used = [], 0, None, 0.0
    for rank, layer_width in enumerate(widths):
        if used + layer_width > width and last_good is not None:
            rows.append(range(start, last_good + 1))
            start = last_good + 1
            used = sum(widths[start:rank]) + _GAP_X * (rank - start)
            last_good = None
        used += layer_width + _GAP_X
        if len(crossing[rank]) == 1 and ranks[next(iter(crossing[rank]))] == rank and longest[rank] <= _NEAR:
            last_good = rank
    return [*rows, range(start, len(widths))]


def _horizontal(widths: Sequence[float], rows: Sequence[range]) -> tuple[list[float], list[int], float]:
    x, row_of_layer, total = [], [], 0.0
    indent = _GAP_X / 2 if len(rows) > 1 else 0.0
    for index, row in enumerate(rows):
        reach = indent
        for layer in row:
            x.append(reach + widths[layer] / 2)
            row_of_layer.append(index)
            reach += widths[layer] + _GAP_X
        total = max(total, reach - _GAP_X + indent)
    return x, row_of_layer, total


def _stack(
    layers: Sequence[Sequence[Vertex]],
    y: Mapping[Vertex, float],
    size: Mapping[Vertex, Size],
    row_of_layer: Sequence[int],
) -> tuple[list[float], tuple[float, ...], float]:
    """What to add to the heights of each row, the gutters below them, and the height of all."""
    shifts, gutters, reach = [], [], 0.0
    for row in range(max(row_of_layer) + 1):
        members = [v for layer, r in zip(layers, row_of_layer, strict=True) if r == row for v in layer]
        top = min(y[v] - size[v][1] / 2 for v in members)
        bottom = max(y[v] + size[v][1] / 2 for v in members)
        shifts.append(reach - top)
        reach += bottom - top + _ROW_GAP
        gutters.append(reach - _ROW_GAP * 0.68)
    return shifts, tuple(gutters), reach - _ROW_GAP


def _route(chain: Sequence[Vertex], centres: Mapping[Vertex, Point], size: Mapping[Vertex, Size]) -> tuple[Point, ...]:
    (x0, y0), (x1, y1) = centres[chain[0]], centres[chain[-1]]
    inner = [centres[dummy] for dummy in chain[1:-1]]
    return (x0 + size[chain[0]][0] / 2, y0), *inner, (x1 - size[chain[-1]][0] / 2, y1)
