"""PC-DARTS: weights of edges, normalised over each node (Xu et al. 2020, section 3.3)."""

from __future__ import annotations

import pytest
import torch

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.pc_darts import PcDarts
from spark_nas.evaluation.oneshot.protocol import Batch, Gates
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.edges import incoming
from spark_nas.spaces.nas_bench_201 import NasBench201
from tests.evaluation.oneshot.toys import TRAIN, VALID, learner, plain_space

SPACES = [Darts(), DartsRnn(), NasBench201()]


@pytest.mark.parametrize("options", SPACES, ids=lambda options: options.name)
def test_the_gates_of_all_edges_into_a_node_sum_to_1(options: Darts | DartsRnn | NasBench201):
    torch.manual_seed(1)
    space = options.build()
    method = PcDarts(init_scale=2.0).build(space)
    gates = method.gates()
    for edges in incoming(space).values():
        assert pytest.approx(1.0, abs=1e-5) == sum(gate.item() for edge in edges for gate in gates[edge].values())


def test_a_gate_is_the_softmax_over_options_times_the_softmax_over_edges():
    torch.manual_seed(1)
    method = PcDarts(init_scale=2.0).build(NasBench201().build())
    alpha, beta = method.weights.alpha.detach(), method.weights.beta.detach()
    # Edges 0->1 | 0->2, 1->2 | 0->3, 1->3, 2->3.
    expected = alpha.softmax(-1) * torch.cat([beta[:1].softmax(0), beta[1:3].softmax(0), beta[3:].softmax(0)])[:, None]
    actual = torch.tensor([[gate.item() for gate in row.values()] for row in method.gates().values()])
    assert torch.allclose(expected, actual, atol=1e-6)


def test_edges_learn_by_what_the_loss_says_of_them():
    method = PcDarts(warmup_epochs=0).build(NasBench201().build())

    def objective(batch: Batch, gates: Gates) -> torch.Tensor:
        return sum(gates["1->3"].values(), start=torch.zeros(()))

    student = learner(objective)
    for _ in range(100):
        method.step(student, TRAIN, lambda: VALID)
    total = {name: sum(gate.item() for gate in row.values()) for name, row in method.gates().items()}
    assert total["1->3"] < 0.33 < min(total["0->3"], total["2->3"])


def test_derivation_goes_by_the_products():
    method = PcDarts(init_scale=0).build(Darts().build())
    rows = list(method.weights.layout.rows)
    with torch.no_grad():
        method.weights.beta[rows.index("normal/0->4")] = -1.0
        method.weights.alpha[rows.index("normal/2->4"), 3] = 0.1  # skip_connect: a little stronger than all others
    node = {name: option for name, option in method.derive()[0].items() if name.startswith("normal") and "->4" in name}
    assert {"normal/0->4": "none", "normal/3->4": "none"}.items() <= node.items()
    assert "skip_connect" == node["normal/2->4"]
    assert "none" != node["normal/1->4"]


def test_the_defaults_are_the_papers():
    options = PcDarts()
    assert (6e-4, (0.5, 0.999), 1e-3, 15.0) == (
        options.learning_rate,
        options.betas,
        options.weight_decay,
        options.warmup_epochs,
    )


def test_a_space_without_edges_is_refused():
    with pytest.raises(OptionError, match="choice 'a' is no edge of a cell"):
        PcDarts().build(plain_space(2))
