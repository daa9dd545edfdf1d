"""ProxylessNAS by gradient: what is run, and what alpha learns of it (Cai et al. 2019, sections 3.1 and 3.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor, nn, optim

from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.oneshot import proxyless
from spark_nas.evaluation.oneshot.proxyless import Proxyless, ProxylessMethod
from spark_nas.spaces import proxyless as chain
from spark_nas.spaces.core import SUPERNET, Architecture, IndependentChoices
from spark_nas.spaces.latency import LatencyTable
from tests.evaluation.oneshot import supernets
from tests.evaluation.oneshot.supernets import ZEROED, Learner, supernet
from tests.strategies import plain_space

SPACE = plain_space(3, 2, 1)
SINGLE = {"c": "o0"}
"""The choice without an alternative."""


def table_file(path: Path, space: IndependentChoices, *, fixed: float = 2.0) -> str:
    """A table of random latencies above 1; silent options cost nothing."""
    rng = Random(1)
    options = {
        choice.name: {o: 0.0 if o in ("none", "zero") else rng.uniform(1, 5) for o in choice.options}
        for choice in space.choices
    }
    (path / "table.json").write_text(LatencyTable(fixed, options).to_json())
    return str(path / "table.json")


@dataclass
class Search:
    """A method in double precision whose draws are dictated, and the gradients that it learns from."""

    method: ProxylessMethod
    learner: Learner
    slopes: list[Tensor] = field(default_factory=list)

    def step(self, **keywords: int) -> None:
        self.method.step(self.learner, supernets.batch(split="train"), lambda: supernets.batch(**keywords))

    @property
    def alpha(self) -> Tensor:
        return self.method.weights.leaves()[0].detach()

    @property
    def p(self) -> Tensor:
        return self.method.weights.probabilities(self.method.weights.leaves()).detach()


Searching = Callable[..., Search]


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> Searching:
    """Makes a search that is due for an architecture step, with spread-out probabilities."""

    def make(options: Proxyless, space: IndependentChoices = SPACE, chosen: tuple[int, ...] | None = None) -> Search:
        torch.manual_seed(1)
        found = Search(options.build(space).double(), supernet(space))
        with torch.no_grad():
            for alpha in found.method.weights.alphas:
                alpha.copy_(torch.randn(len(alpha)))
        found.method.waited.fill_(options.interval)
        if chosen is not None:
            monkeypatch.setattr(proxyless, "draw", lambda log_p: torch.tensor(chosen))
        learn = found.method.weights.learn
        monkeypatch.setattr(
            found.method.weights, "learn", lambda slopes, *rest: found.slopes.append(slopes[0]) or learn(slopes, *rest)
        )
        return found

    return make


def enumerated(space: IndependentChoices) -> list[tuple[int, ...]]:
    return list(product(*(range(len(choice.options)) for choice in space.choices)))


def gate_gradients(found: Search, chosen: tuple[int, ...]) -> Tensor:
    """dL/dg at the one-hot of `chosen`, [E, K], by autograd through all options with their graphs."""
    layout = found.method.weights.layout
    g_EK = nn.functional.one_hot(torch.tensor(chosen), layout.columns).double().requires_grad_()
    data = supernets.batch()
    loss = nn.functional.cross_entropy(found.learner.network(data.x, layout.gates(g_EK)), data.y)
    return torch.autograd.grad(loss, g_EK)[0]


@pytest.mark.parametrize("chosen", enumerated(SPACE))
def test_the_gradient_is_that_of_the_gates_times_the_softmaxs_derivative(
    searching: Searching, chosen: tuple[int, ...], tmp_path: Path
):
    """A9: dL/dalpha_i = sum_j dL/dg_j p_j (delta_ij - p_i), with latency weight / ref * p_i (l_i - E) more."""
    latency = table_file(tmp_path, SPACE)
    for options in (Proxyless(warmup_epochs=0), Proxyless(warmup_epochs=0, latency=latency, reference=8.0)):
        found = searching(options, chosen=chosen)
        p_EK, g_EK = found.p, gate_gradients(found, chosen)
        if options.table is not None:
            assert found.method.costs_EK is not None
            g_EK = g_EK + 0.1 / 8.0 * found.method.costs_EK
        jacobian_EKK = p_EK[:, None] * (torch.eye(3) - p_EK[:, :, None])
        expected_EK = (jacobian_EKK * g_EK[:, None]).sum(-1)
        found.step()
        [actual_EK] = found.slopes
        assert (expected_EK - actual_EK).abs().max() < 1e-15
        assert expected_EK[:2].abs().max() > 1e-3
        assert actual_EK.sum(-1).abs().max() < 1e-15


def test_in_mode_two_the_gradient_is_that_of_the_pair_alone(searching: Searching, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(proxyless, "draw_pairs", _first_two)
    found = searching(Proxyless(warmup_epochs=0, mode="two"), chosen=(1, 0, 0))
    q_EK = found.p.masked_fill(~_first_two(found.p.log()), 0.0)
    q_EK, g_EK = q_EK / q_EK.sum(-1, keepdim=True), gate_gradients(found, (1, 0, 0))
    found.step()
    [actual_EK] = found.slopes
    assert (q_EK * (g_EK - (q_EK * g_EK).sum(-1, keepdim=True)) - actual_EK).abs().max() < 1e-15
    assert 0.0 == actual_EK[0, 2].item()
    [gates] = found.learner.asked
    assert {"a": ["o0", "o1"], "b": ["o0", "o1"], "c": ["o0"]} == {name: list(row) for name, row in gates.items()}


def _first_two(log_p_EK: Tensor) -> Tensor:
    return (torch.arange(log_p_EK.shape[-1]) < 2) & ~log_p_EK.isneginf()


def test_mode_two_leaves_the_probabilities_of_options_not_sampled(searching: Searching):
    """In the single precision of real searches, over many steps of a large rate."""
    found = searching(Proxyless(warmup_epochs=0, mode="two", learning_rate=0.3, interval=1))
    found.method.float()
    first_EK = found.p
    for step in range(30):
        found.learner.asked.clear()
        before_EK = found.p
        found.step(seed=step)
        moved_EK = (found.p - before_EK).abs()
        [gates] = found.learner.asked
        options = {choice.name: choice.options for choice in SPACE.choices}
        for row, (name, in_play) in enumerate(gates.items()):
            assert len(in_play) == min(2, len(options[name]))
            others = [column for column, option in enumerate(options[name]) if option not in in_play]
            assert all(moved_EK[row, column] < 1e-6 for column in others)
    assert (found.p - first_EK).abs().amax(-1)[:2].min() > 0.1


@pytest.mark.parametrize("mode", ["full", "two"])
def test_a_choice_whose_active_option_computes_nothing_does_not_learn(
    searching: Searching, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Neither from the loss nor from latency; the choice does not run, and Adam's moments stay."""
    monkeypatch.setattr(proxyless, "draw_pairs", _first_two)
    latency = {"latency": table_file(tmp_path, ZEROED), "reference": 8.0}
    found = searching(Proxyless(warmup_epochs=0, mode=mode, interval=1, **latency), ZEROED, chosen=(1, 0))
    before_EK = found.alpha
    found.step()
    assert torch.equal(before_EK[0], found.alpha[0])
    assert not torch.equal(before_EK[1], found.alpha[1])
    assert {"zero": 1.0} == found.learner.asked[0]["a"]
    assert {"o0", "none"} == set(found.learner.asked[0]["b"])
    assert [1] == list(found.method.weights.get_extra_state()["state"])


@pytest.mark.parametrize("mode", ["full", "two"])
def test_it_finds_the_option_that_answers_right(mode: str):
    """Of options that shrink the signal and one that turns it into the answer."""
    torch.manual_seed(1)
    options = Proxyless(warmup_epochs=0, mode=mode, interval=1, learning_rate=0.1)
    method, student = options.build(plain_space(3, 3)), supernet(plain_space(3, 3), _scales)
    with torch.no_grad():
        student.network.head.weight.copy_(torch.eye(3, 4))
    for step in range(150):
        method.step(student, supernets.batch(), lambda step=step: supernets.batch(seed=step))
    assert (Architecture({"a": "o2", "b": "o2"}),) == method.derive()
    assert {"a": {"o2": 1.0}, "b": {"o2": 1.0}} == method.evaluation_gates()
    assert method.weights.probabilities(method.weights.leaves())[:, 2].min() > 0.9


def _scales(option: str) -> nn.Module:
    convolution = nn.Conv2d(4, 4, 1, bias=False, dtype=torch.float64)
    nn.init.zeros_(convolution.weight)
    convolution.weight.data[:, :, 0, 0] += torch.eye(4) * {"o0": -0.5, "o1": 0.0, "o2": 2.0}[option]
    return convolution


def test_a_step_on_the_weights_runs_one_candidate_a_choice():
    space = plain_space(4, 2)
    method, student = Proxyless().build(space), supernet(space)
    ran: list[tuple[str, str]] = []
    for key, option in student.network.options().items():
        option.register_forward_hook(lambda *_, key=key: ran.append(key) if torch.is_grad_enabled() else None)
    for _ in range(5):
        ran.clear()
        gates = method.gates()
        student.loss(supernets.batch(), gates).backward()
        assert [(name, option) for name, row in gates.items() for option in row] == ran
        assert ["a", "b"] == [name for name, _ in ran]


def test_a_step_on_alpha_builds_the_graph_of_the_active_candidates_alone(searching: Searching):
    found = searching(Proxyless(warmup_epochs=0), plain_space(4, 2), chosen=(3, 1))
    ran: dict[tuple[str, str], bool] = {}
    for key, option in found.learner.network.options().items():
        option.register_forward_hook(lambda *_, key=key: ran.update({key: torch.is_grad_enabled()}))
    found.step()
    assert 6 == len(ran)
    assert [("a", "o3"), ("b", "o1")] == [key for key, learns in ran.items() if learns]


@pytest.mark.parametrize("options", [2, 7])
def test_the_tensors_kept_for_a_step_on_the_weights_do_not_depend_on_the_number_of_options(options: int):
    kept: list[tuple[int, ...]] = []
    method, student = Proxyless().build(plain_space(options, options)), supernet(plain_space(options, options))
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(tuple(x.shape)) or x, lambda x: x):
        student.loss(supernets.batch(), method.gates())
    # Of each choice: its convolution's input and weight, and the tanh. The head: input, weight. The loss: its parts.
    of_the_choices = [shape for shape in kept if len(shape) == 4]
    assert [(16, 4, 2, 2), (4, 4, 1, 1), (16, 4, 2, 2)] * 2 == of_the_choices
    assert len(kept) - len(of_the_choices) <= 6


def test_the_curvature_is_reported_on_request():
    method, student = Proxyless(hessian=True).build(SPACE).double(), supernet(SPACE)
    assert "hessian_eigenvalue" not in method.diagnostics()
    method.finish_epoch(student, supernets.batch)
    leaf = method.weights.leaves()[0].detach()
    data = supernets.batch()
    hessian = torch.autograd.functional.hessian(
        lambda alpha: student.loss(data, method.weights.gates((alpha.view_as(leaf),))), leaf.flatten()
    )
    values = torch.linalg.eigvalsh(hessian)
    assert pytest.approx(values[values.abs().argmax()].item(), rel=0.05) == method.diagnostics()["hessian_eigenvalue"]


@pytest.mark.parametrize("mode", ["full", "two"])
def test_it_searches_the_chain_of_inverted_bottlenecks(mode: str):
    options = chain.Proxyless(width=0.25, widths=(16, 16), depths=(2, 1), strides=(1, 2), stem_stride=1)
    torch.manual_seed(1)
    network = build(options, SUPERNET, {}, (3, 8, 8), 3, affine=False)
    method = Proxyless(warmup_epochs=0, interval=1, mode=mode).build(options.build())
    student = Learner(network, optim.SGD(network.parameters(), lr=0.1))
    method.waited.fill_(1)
    before = method.weights.leaves()[0].detach()
    data = supernets.batch(8)._replace(x=torch.randn(8, 3, 8, 8))
    method.step(student, data, lambda: data)
    learnt = [
        any(option != "zero" and weight != 1.0 for option, weight in row.items()) for row in student.asked[0].values()
    ]
    assert learnt == (method.weights.leaves()[0] != before).any(-1).tolist()
    assert any(learnt)
    assert options.build().contains(method.derive()[0])
