"""The drawing of a network."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from random import Random

import networkx as nx
import pytest

from spark_nas.report.drawing import draw_graph
from spark_nas.report.layout import layered
from spark_nas.spaces.core import SUPERNET
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.graph import Edge, Graph, Node
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.spaces.wide_resnet import WideResNet

SVG = "{http://www.w3.org/2000/svg}"


def boxes(svg: str) -> list[tuple[float, float, float, float]]:
    return [
        tuple(float(rect.attrib[side]) for side in ("x", "y", "width", "height"))  # type: ignore[misc]
        for group in ET.fromstring(f"<all>{svg}</all>").iter(f"{SVG}g")
        for rect in group.iter(f"{SVG}rect")
    ]


@pytest.mark.parametrize(
    "graph",
    [
        NasBench201().graph(NasBench201().build().sample(Random(1)), {}),
        Darts().graph(Darts().build().sample(Random(2)), {}),
        Darts().graph(SUPERNET, {}),
        WideResNet(depth=40).graph(SUPERNET, {}),
    ],
    ids=["nas_bench_201", "darts", "darts supernet", "wide_resnet"],
)
def test_no_two_boxes_overlap(graph: Graph):
    for part in draw_graph(graph).split("</svg>")[:-1]:
        rects = boxes(part + "</svg>")
        assert rects
        for index, (x, y, w, h) in enumerate(rects):
            for x2, y2, w2, h2 in rects[:index]:
                assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y


def test_every_node_and_operation_is_drawn():
    graph = Graph(
        (Node("a", "in"), Node("b", "mid"), Node("c", "out")),
        (Edge("a", "b", "conv"), Edge("a", "c", "skip"), Edge("b", "c")),
    )
    words = {text.text for text in ET.fromstring(draw_graph(graph)).iter(f"{SVG}text")}
    assert {"in", "mid", "out", "conv", "skip"} == words


def test_parallel_operations_of_a_supernet_are_one_box_that_lists_them():
    graph = Graph((Node("a", "in"), Node("b", "out")), tuple(Edge("a", "b", f"op{i}") for i in range(8)))
    drawing = draw_graph(graph)
    assert 3 == len(boxes(drawing))
    assert "8 operations" in drawing
    assert "op0; op1; op2; op3; op4; op5; op6; op7" in drawing


def test_labels_are_escaped():
    drawing = draw_graph(Graph((Node("a", "<script>x</script>"), Node("b", "b")), (Edge("a", "b"),)))
    assert "<script>" not in drawing


def test_a_long_chain_is_broken_into_rows_within_the_width():
    chain = nx.path_graph(30, create_using=nx.DiGraph)
    layout = layered(chain, dict.fromkeys(chain, (100.0, 28.0)), 1000)
    assert layout.width <= 1000 + 44
    assert 5 == max(layout.rows.values()) + 1


def test_edges_lead_from_left_to_right_within_a_row():
    graph = nx.gn_graph(20, seed=3).reverse()
    layout = layered(graph, dict.fromkeys(graph, (80.0, 28.0)), 1e9)
    for source, target in graph.edges:
        assert layout.centres[source][0] < layout.centres[target][0]
