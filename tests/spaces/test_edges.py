"""Which choices are the incoming edges of a node."""

from __future__ import annotations

import pytest

from spark_nas.errors import OptionError
from spark_nas.spaces.core import SearchSpace
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.edges import incoming
from spark_nas.spaces.mlp import Mlp
from spark_nas.spaces.nas_bench_201 import NasBench201
from spark_nas.spaces.proxyless import Proxyless


def test_the_nodes_of_nas_bench_201():
    assert {"1": ("0->1",), "2": ("0->2", "1->2"), "3": ("0->3", "1->3", "2->3")} == incoming(NasBench201().build())


def test_the_nodes_of_both_cells_of_darts():
    nodes = incoming(Darts().build())
    assert [f"{cell}/{node}" for cell in ("normal", "reduction") for node in (2, 3, 4, 5)] == list(nodes)
    assert ("reduction/0->3", "reduction/1->3", "reduction/2->3") == nodes["reduction/3"]


def test_the_nodes_of_a_recurrent_cell():
    assert {str(node): node for node in range(1, 9)} == {
        node: len(edges) for node, edges in incoming(DartsRnn().build()).items()
    }


@pytest.mark.parametrize("options", [Darts(), DartsRnn(), NasBench201()], ids=lambda options: options.name)
def test_every_choice_leads_into_one_node(options: Darts | DartsRnn | NasBench201):
    space = options.build()
    assert [choice.name for choice in space.choices] == [edge for edges in incoming(space).values() for edge in edges]


@pytest.mark.parametrize("space", [Proxyless().build(), Mlp().build()], ids=lambda space: space.name)
def test_other_spaces_are_refused(space: SearchSpace):
    with pytest.raises(OptionError, match=f"space: '{space.name}': .*no edges to weigh"):
        incoming(space)
