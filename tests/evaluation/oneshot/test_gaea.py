"""GAEA's two levels, its edges and its options; the rule itself is in test_simplex (Li et al. 2021, section 3)."""

from __future__ import annotations

import math

import pytest
import torch

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.darts import Darts as Softmax
from spark_nas.evaluation.oneshot.gaea import Gaea, GaeaMethod
from spark_nas.evaluation.oneshot.gaea_gdas import GaeaGdas
from spark_nas.evaluation.oneshot.protocol import Batch, Gates
from spark_nas.spaces.core import Architecture
from spark_nas.spaces.darts import Darts
from spark_nas.spaces.nas_bench_201 import NasBench201
from tests.contracts.supernets import Search
from tests.evaluation.oneshot.toys import TRAIN, VALID, learner, linear, plain_space


def stepped(method: GaeaMethod, costs: dict[str, list[float]], steps: int = 1) -> list[str]:
    """Let it learn; the splits it looked at."""
    student = learner(linear(costs))
    for _ in range(steps):
        method.step(student, TRAIN, lambda: VALID)
    return student.asked


def test_a_step_moves_each_choice_by_its_own_gradient():
    method = Gaea(clamp=0).build(plain_space(2, 3))
    stepped(method, {"a": [1, 0], "b": [0, 2, 1]})
    for name, costs in {"a": [1, 0], "b": [0, 2, 1]}.items():
        expected = torch.tensor([-0.1 * cost for cost in costs]).softmax(0).tolist()
        assert pytest.approx(expected, abs=1e-6) == [gate.item() for gate in method.gates()[name].values()]


def test_bilevel_learns_from_validation_data_and_single_level_from_the_training_batch():
    assert ["valid"] == stepped(Gaea().build(plain_space(2)), {"a": [1, 0]})
    assert ["train"] == stepped(Gaea(bilevel=False).build(plain_space(2)), {"a": [1, 0]})


def test_single_level_reads_no_validation_data():
    method = Gaea(bilevel=False).build(plain_space(2))
    method.step(learner(linear({"a": [1, 0]})), TRAIN, lambda: pytest.fail("not needed"))


def test_the_best_option_is_derived_and_the_mixture_becomes_sparse():
    method = Gaea().build(plain_space(3, 3))
    stepped(method, {"a": [1, 0, 1], "b": [1, 1, 0.5]}, steps=400)
    assert (Architecture({"a": "o1", "b": "o2"}),) == method.derive()
    assert method.diagnostics()["entropy"] < 0.01


def test_none_may_be_excluded_and_is_then_neither_run_nor_derived():
    method = Gaea(exclude_zero=True).build(NasBench201().build())
    assert all("none" not in row for row in method.gates().values())
    assert pytest.approx(math.log(4)) == method.diagnostics()["entropy"]
    [derived] = method.derive()
    assert "none" not in derived.values()


def test_weights_of_edges_multiply_those_of_options_and_learn_with_them():
    space = NasBench201().build()
    method = Gaea(edge_weights=True, edge_learning_rate=0.2).build(space)
    uniform = {name: {option: gate.item() for option, gate in row.items()} for name, row in method.gates().items()}
    assert pytest.approx(1 / 5) == uniform["0->1"]["none"]
    assert pytest.approx(1 / 15) == uniform["1->3"]["none"]

    def objective(batch: Batch, gates: Gates) -> torch.Tensor:
        return sum(gates["0->3"].values(), start=torch.zeros(()))  # one less of the edge is one less of the loss

    method.step(learner(objective), TRAIN, lambda: VALID)
    total = {name: sum(gate.item() for gate in row.values()) for name, row in method.gates().items()}
    weighed = math.exp(-0.2)
    assert pytest.approx(weighed / (weighed + 2), abs=1e-6) == total["0->3"]
    assert pytest.approx(1 / (weighed + 2), abs=1e-6) == total["2->3"]
    assert pytest.approx(0.5, abs=1e-6) == total["1->2"]


def test_a_cell_is_derived_by_the_products_of_edges_and_options():
    """Node 3 keeps two of its three edges: without weights of edges the first two, as all are alike."""
    method = Gaea(edge_weights=True).build(Darts().build())
    rows = list(method.weights.layout.rows)
    assert method.weights.log_beta is not None
    method.weights.log_beta[rows.index("normal/0->3")] = -5.0
    kept = {name for name, option in method.derive()[0].items() if option != "none" and name.endswith("->3")}
    assert {"normal/1->3", "normal/2->3", "reduction/0->3", "reduction/1->3"} == kept


def test_while_it_warms_up_only_weights_learn():
    method = Gaea(warmup_epochs=1).build(plain_space(2))
    student = learner(linear({"a": [1, 0]}))
    method.step(student, TRAIN, lambda: pytest.fail("not needed"))
    assert pytest.approx([0.5, 0.5]) == [gate.item() for gate in method.gates()["a"].values()]


def test_weights_of_edges_need_edges():
    with pytest.raises(OptionError, match="choice 'a' is no edge of a cell"):
        Gaea(edge_weights=True).build(plain_space(2))


def test_a_negative_rate_of_edges_is_refused():
    with pytest.raises(OptionError, match="edge_learning_rate"):
        Gaea(edge_learning_rate=-1)


def test_the_sampled_variant_has_the_papers_defaults():
    options = GaeaGdas()
    given = options.learning_rate, options.entropic_weight, options.warmup_epochs, options.normalise_last
    assert (0.01, 0.01, 50.0, False) == given
    assert (10.0, 0.1, 1e-5) == (options.temperature, options.last_temperature, options.clamp)


@pytest.mark.slow
def test_on_digits_the_mixture_becomes_sparser_than_that_of_darts():
    """At the papers' learning rates, with the same weights at the beginning and the same batches."""
    entropies = {}
    for options in (Gaea(), Softmax()):
        trained = Search.begin(options, NasBench201(channels=2, cells=1), epochs=8)
        entropies[type(options)] = [numbers["entropy"] for _, numbers, _ in trained.train(range(8))]
    assert sorted(entropies[Gaea], reverse=True) == entropies[Gaea]
    assert entropies[Gaea][-1] < entropies[Softmax][-1] - 1e-3
