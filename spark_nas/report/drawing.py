"""A drawing of a network as inline SVG: states as pills, operations as coloured boxes on the way between them."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import pairwise

import networkx as nx  # type: ignore[import-untyped]

from spark_nas.report.layout import Layout, Point, Vertex, layered
from spark_nas.report.style import FAINT, INK
from spark_nas.report.tables import escape
from spark_nas.spaces.graph import Edge, Graph

_WIDTH = 1130.0
_LINE, _CHARACTER = 17.0, 7.3
_MOST_LABELS = 3
_TINTS = ("#cfe6f5", "#fbe3b0", "#c8eadd", "#f6d5c4", "#f0d9e8", "#dfe3f7", "#e3ecc0", "#e5e5e5")
"""Light tints of Okabe & Ito's colours, so that black text on them stays legible."""
_STATE = "#ffffff"


def draw_graph(graph: Graph) -> str:
    """An `<svg>` for each unconnected part of the network, one below the other; all text is escaped."""
    if not graph.nodes:
        return '<p class="note">The network has no parts to draw.</p>'
    whole = nx.DiGraph()
    whole.add_nodes_from(node.name for node in graph.nodes)
    whole.add_edges_from((edge.source, edge.target) for edge in graph.edges)
    positions = {node.name: index for index, node in enumerate(graph.nodes)}
    tints = _colours(graph)
    parts = sorted(nx.weakly_connected_components(whole), key=lambda names: min(positions[name] for name in names))
    return "".join(_draw_part(graph, names, tints) for names in parts if len(names) > 1 or len(parts) == 1) or (
        '<p class="note">No two parts of the network are connected.</p>'
    )


def _colours(graph: Graph) -> Mapping[str, str]:
    """A tint for each operation, in order of appearance; the last is shared where there are more than tints."""
    operations = list(dict.fromkeys(edge.label for edge in graph.edges if edge.label))
    return {label: _TINTS[min(index, len(_TINTS) - 1)] for index, label in enumerate(operations)}


def _draw_part(graph: Graph, names: set[str], tints: Mapping[str, str]) -> str:
    nodes = [node for node in graph.nodes if node.name in names]
    parallel: dict[tuple[str, str], list[Edge]] = {}
    for edge in graph.edges:
        if edge.source in names:
            parallel.setdefault((edge.source, edge.target), []).append(edge)
    drawn, boxes = nx.DiGraph(), dict[Vertex, tuple[list[str], str, str]]()
    for node in nodes:
        drawn.add_node(node.name)
        boxes[node.name] = (_wrapped(node.label), _STATE, "")
    for (source, target), edges in parallel.items():
        labels = [edge.label for edge in edges if edge.label]
        if labels:
            operation = ("operation", source, target)
            lines = [line for label in labels for line in _wrapped(label)]
            if len(labels) > _MOST_LABELS:
                lines = [f"{len(labels)} operations"]
            boxes[operation] = (lines, tints[labels[0]], "; ".join(labels))
            nx.add_path(drawn, [source, operation, target])
        if len(labels) < len(edges):
            drawn.add_edge(source, target)
    sizes = {vertex: _size(lines) for vertex, (lines, _, _) in boxes.items()}
    layout = layered(drawn, sizes, _WIDTH)
    groups = {node.name: node.group for node in nodes if node.group}
    return _svg(layout, boxes, sizes, groups)


def _wrapped(label: str) -> list[str]:
    return textwrap.wrap(label, 20, break_on_hyphens=False)[:4] or [""]


def _size(lines: Sequence[str]) -> tuple[float, float]:
    return max(30.0, max(map(len, lines)) * _CHARACTER + 20), len(lines) * _LINE + 11


def _svg(
    layout: Layout,
    boxes: Mapping[Vertex, tuple[list[str], str, str]],
    sizes: Mapping[Vertex, tuple[float, float]],
    groups: Mapping[str, str],
) -> str:
    frames = _frames(layout, sizes, groups)
    left, right = 14.0, layout.width + 14
    top = min([-12.0, *(frame[2] - 24 for frame in frames)])
    bottom = max([layout.height + 12, *(frame[4] + 6 for frame in frames)])
    parts = [_frame(*frame) for frame in frames]
    for (source, target), route in layout.routes.items():
        row = layout.rows[source]
        parts.append(_path(route, layout.gutters[row] if row != layout.rows[target] else None))
    parts += [_box(layout.centres[v], sizes[v], *boxes[v], state=boxes[v][1] == _STATE) for v in boxes]
    width, height = left + right, bottom - top
    squeeze = "" if width <= _WIDTH * 1.35 else "max-width:none;"
    words = ", ".join(dict.fromkeys(" ".join(lines) for lines, _, _ in boxes.values()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="{-left:.0f} {top:.0f} {width:.0f} {height:.0f}" style="{squeeze}" role="img" '
        f'aria-label="Drawing of the network: {escape(words[:500])}" font-family="inherit" font-size="13">'
        f"{''.join(parts)}</svg>"
    )


def _frames(
    layout: Layout, sizes: Mapping[Vertex, tuple[float, float]], groups: Mapping[str, str]
) -> list[tuple[str, float, float, float, float]]:
    """A frame around each row of each group: (name, left, top, right, bottom)."""
    members: dict[tuple[str, int], list[Vertex]] = {}
    for name, group in groups.items():
        members.setdefault((group, layout.rows[name]), []).append(name)
    for operation in sizes:
        if not isinstance(operation, tuple):
            continue
        within = groups.get(operation[1])
        if within and within == groups.get(operation[2]):
            members.setdefault((within, layout.rows[operation]), []).append(operation)
    frames = []
    for (group, _), vertices in members.items():
        sides = [(*layout.centres[v], *sizes[v]) for v in vertices]
        left, right = min(x - w / 2 for x, _, w, _ in sides), max(x + w / 2 for x, _, w, _ in sides)
        top, bottom = min(y - h / 2 for _, y, _, h in sides), max(y + h / 2 for _, y, _, h in sides)
        frames.append((group, left - 10, top - 10, right + 10, bottom + 10))
    return frames


def _frame(name: str, left: float, top: float, right: float, bottom: float) -> str:
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{bottom - top:.1f}" rx="10" '
        f'fill="#f7f9fb" stroke="#dde3e8"/>'
        f'<text x="{left + 4:.1f}" y="{top - 6:.1f}" fill="{FAINT}" font-size="12" font-weight="600">'
        f"{escape(name)}</text>"
    )


def _path(route: Sequence[Point], gutter: float | None) -> str:
    """A smooth line through the points with an arrow's head; a line to the next row goes round through the gutter."""
    if gutter is not None:
        (x0, y0), (x1, y1) = route[0], route[-1]
        rail = x0 + 14
        line = f"M{x0:.1f},{y0:.1f}H{rail:.1f}V{gutter:.1f}H4V{y1:.1f}H{x1 - 4:.1f}"
    else:
        line = f"M{route[0][0]:.1f},{route[0][1]:.1f}"
        for index, ((xa, ya), (xb, yb)) in enumerate(pairwise(route)):
            end = xb - 4 if index == len(route) - 2 else xb
            middle = (xa + end) / 2
            line += f"C{middle:.1f},{ya:.1f} {middle:.1f},{yb:.1f} {end:.1f},{yb:.1f}"
    x, y = route[-1]
    return (
        f'<path d="{line}" fill="none" stroke="{FAINT}" stroke-width="1.4" stroke-linejoin="round"/>'
        f'<path d="M{x:.1f},{y:.1f}l-8,-4v8z" fill="{FAINT}"/>'
    )


def _box(centre: Point, size: tuple[float, float], lines: Sequence[str], fill: str, hint: str, *, state: bool) -> str:
    (x, y), (width, height) = centre, size
    radius = height / 2 if state and len(lines) == 1 else 6
    first = y - (len(lines) - 1) * _LINE / 2 + 4.5
    words = "".join(
        f'<text x="{x:.1f}" y="{first + index * _LINE:.1f}" text-anchor="middle" fill="{INK}">{escape(line)}</text>'
        for index, line in enumerate(lines)
    )
    title = f"<title>{escape(hint)}</title>" if hint else ""
    return (
        f'<g>{title}<rect x="{x - width / 2:.1f}" y="{y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'rx="{radius:.1f}" fill="{fill}" stroke="{INK if state else "none"}" stroke-width="1.2"/>{words}</g>'
    )
