"""The recurrent cells against explicit formulas, and what gates do in them."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random

import pytest
import torch
from torch import Tensor

from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.mixed import Gates, Probe
from spark_nas.evaluation.networks.recurrent import node
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.darts_rnn import ACTIVATIONS, OPERATIONS, DartsRnn
from spark_nas.spaces.darts_rnn_genotype import from_genotype
from spark_nas.spaces.enas_rnn import EnasRnn

DRY = dict.fromkeys(("dropout_output", "dropout_hidden", "dropout_input", "dropout_between", "dropout_embedding"), 0.0)
H = 5
DARTS = DartsRnn(hidden=H, **DRY)
ENAS = EnasRnn(hidden=H, nodes=5, **DRY)
SPACES = {"darts_rnn": DARTS, "enas_rnn": ENAS}
FUNCTIONS = {"tanh": torch.tanh, "relu": torch.relu, "sigmoid": torch.sigmoid, "identity": lambda h: h}
DARTS_V2 = [
    (0, "sigmoid"),
    (1, "relu"),
    (1, "relu"),
    (1, "identity"),
    (2, "tanh"),
    (5, "sigmoid"),
    (3, "tanh"),
    (5, "relu"),
]
X_TB = torch.tensor([[1, 2, 0], [0, 2, 4], [3, 3, 3]])
ENAS_PATH = {
    "node1/activation": "relu",
    **{"node2/input": "1", "node2/activation": "tanh", "node3/input": "1", "node3/activation": "sigmoid"},
    **{"node4/input": "3", "node4/activation": "identity", "node5/input": "1", "node5/activation": "relu"},
}


def made(options: DartsRnn | EnasRnn, architecture: Architecture = SUPERNET, *, affine: bool = True):
    """In double precision, with matrices large enough for the activations to differ."""
    network = build(options, architecture, {}, (), 6, affine=affine, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return network


def mixture(options: DartsRnn | EnasRnn, seed: int = 1) -> dict[str, dict[str, Tensor]]:
    """Random weights of all options, which sum to 1 and want gradients."""
    generator = torch.Generator().manual_seed(seed)
    gates = {}
    for choice in options.build().choices:
        weights = torch.softmax(torch.randn(len(choice.options), generator=generator, dtype=torch.float64), 0)
        gates[choice.name] = {o: w.clone().requires_grad_() for o, w in zip(choice.options, weights, strict=True)}
    return gates


def path(architecture: Mapping[str, str]) -> Gates:
    return {choice: {option: 1.0} for choice, option in architecture.items()}


def part(state: Tensor, product: Tensor, option: str) -> Tensor:
    """s + sigmoid(c) * (f(h) - s)."""
    c, h = product[:, :H], product[:, H:]
    return state + torch.sigmoid(c) * (FUNCTIONS[option](h) - state)


def normed(state: Tensor) -> Tensor:
    return (state - state.mean(0)) / torch.sqrt(state.var(0, unbiased=False) + 1e-5)


def first_product(network: torch.nn.Module, tokens: Tensor, h: Tensor) -> Tensor:
    embedded = network.get_parameter("classifier.weight")[tokens]
    return torch.cat([embedded, h], dim=1) @ network.get_parameter("cell.input")


def decoded(network: torch.nn.Module, outputs: list[Tensor]) -> Tensor:
    return torch.cat(outputs) @ network.get_parameter("classifier.weight").T + network.get_parameter("classifier.bias")


def test_a_published_darts_cell_computes_the_papers_formulas():
    network = made(DARTS, DARTS.build().cell(dict(enumerate(DARTS_V2, start=1)))).eval()
    h, outputs = torch.zeros(3, H, dtype=torch.float64), []
    for tokens in X_TB:
        states = [part(h, first_product(network, tokens, h), "tanh")]
        for number, (source, option) in enumerate(DARTS_V2):
            states.append(part(states[source], states[source] @ network.get_parameter(f"cell.nodes.{number}"), option))
        h = sum(states[1:]) / 8
        outputs.append(h)
    assert torch.allclose(decoded(network, outputs), network(X_TB))


def test_the_genotype_of_the_published_cell_is_the_cell_above():
    pairs = ", ".join(f"('{option}', {source})" for source, option in DARTS_V2)
    cell = DARTS.build().cell(dict(enumerate(DARTS_V2, start=1)))
    assert cell == from_genotype(f"Genotype(recurrent=[{pairs}], concat=range(1, 9))")


def test_the_darts_supernet_weighs_every_edge_and_activation_and_normalises_every_state():
    network, gates = made(DARTS, affine=False).train(), mixture(DARTS)
    h, outputs = torch.zeros(3, H, dtype=torch.float64), []
    for tokens in X_TB:
        states = [normed(part(h, first_product(network, tokens, h), "tanh"))]
        for number in range(1, 9):
            matrix = network.get_parameter(f"cell.nodes.{number - 1}")
            edges = [
                gates[f"{source}->{number}"][option] * part(states[source], states[source] @ matrix, option)
                for source in range(number)
                for option in ACTIVATIONS
            ]
            states.append(normed(sum(edges)))
        h = sum(states[1:]) / 8
        outputs.append(h)
    assert torch.allclose(decoded(network, outputs), network(X_TB, gates))


def enas_by_hand(network: torch.nn.Module, gates: Mapping[str, Mapping[str, Tensor | float]]) -> Tensor:
    h, outputs = torch.zeros(3, H, dtype=torch.float64), []
    for tokens in X_TB:
        product = first_product(network, tokens, h)
        states = {1: sum(w * part(h, product, f) for f, w in gates["node1/activation"].items())}
        loose = {1: 1.0}
        for i in range(2, 6):
            states[i], loose[i] = torch.zeros_like(h), 1.0
            for j, weight in ((int(source), weight) for source, weight in gates[f"node{i}/input"].items()):
                product = states[j] @ network.get_parameter(f"cell.inputs.{i}.options.{j}.weight").T
                for option, other in gates[f"node{i}/activation"].items():
                    states[i] = states[i] + weight * other * part(states[j], product, option)
                loose[j] = loose[j] * (1 - weight)
        h = sum(loose[i] * states[i] for i in states) / sum(loose.values())
        outputs.append(h)
    return decoded(network, outputs)


def test_an_enas_cell_computes_the_papers_formulas_and_averages_its_loose_ends():
    network = made(ENAS, Architecture(ENAS_PATH)).eval()
    assert torch.allclose(enas_by_hand(network, path(ENAS_PATH)), network(X_TB))


def test_the_enas_supernet_weighs_every_pair_of_options_and_every_end_by_how_little_it_is_read():
    network, gates = made(ENAS).eval(), mixture(ENAS)
    assert torch.allclose(enas_by_hand(network, gates), network(X_TB, gates))


def test_the_search_form_of_an_enas_cell_normalises_its_output():
    network = made(ENAS, Architecture(ENAS_PATH), affine=False).train()
    plain = made(ENAS, Architecture(ENAS_PATH)).eval()
    plain(X_TB[:1])
    assert torch.allclose(decoded(network, [normed(plain.carried)]), network(X_TB[:1]))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", SPACES)
def test_a_child_computes_what_its_path_computes_while_training(name: str, affine: bool):
    options = SPACES[name]
    supernet = made(options, affine=affine).train()
    for seed in (1, 2, 3):
        architecture = options.build().sample(Random(seed))
        child = made(options, architecture, affine=affine).train()
        child.load_state_dict({name: supernet.state_dict()[name] for name in child.state_dict()})
        supernet.reset()
        for x in (X_TB, X_TB.flip(0)):
            assert torch.equal(supernet(x, path(architecture)), child(x))


@pytest.mark.parametrize("name", SPACES)
def test_a_weight_of_one_as_a_tensor_is_a_weight_of_one(name: str):
    options = SPACES[name]
    network, architecture = made(options).eval(), options.build().sample(Random(1))
    expected = network(X_TB, path(architecture))
    network.reset()
    gates = {choice: {option: torch.ones((), dtype=torch.float64)} for choice, option in architecture.items()}
    assert torch.allclose(expected, network(X_TB, gates))


@pytest.mark.parametrize("name", SPACES)
def test_gates_get_the_gradients_of_finite_differences(name: str):
    options = DartsRnn(hidden=H, nodes=2, **DRY) if name == "darts_rnn" else EnasRnn(hidden=H, nodes=3, **DRY)
    network, gates = made(options).eval(), mixture(options)
    places = [(choice, option) for choice in gates for option in gates[choice]]

    def logits(*weights: Tensor) -> Tensor:
        given: dict[str, dict[str, Tensor]] = {choice: {} for choice in gates}
        for (choice, option), weight in zip(places, weights, strict=True):
            given[choice][option] = weight
        network.reset()
        return network(X_TB, given)

    assert torch.autograd.gradcheck(logits, [gates[choice][option] for choice, option in places], fast_mode=True)


def test_a_node_of_which_only_none_runs_is_zero_and_its_gate_has_the_gradient_zero():
    network, architecture = made(DARTS).eval(), DARTS.build().cell(dict(enumerate(DARTS_V2, start=1)))
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    gates = {**path(architecture), "5->8": {"none": weight}}
    network(X_TB, gates).sum().backward()
    assert weight.grad == 0
    assert network.get_parameter("cell.nodes.7").grad is None
    parts = network.cell.plan(gates, torch.zeros(())).nodes[7]
    assert torch.equal(torch.zeros(3, H), node(parts, [torch.ones(3, H)], None))


def test_what_is_not_gated_does_not_run():
    network, architecture = made(ENAS).train(), Architecture(ENAS_PATH)
    network(X_TB, path(architecture)).sum().backward()
    run = {name for name, parameter in network.named_parameters() if parameter.grad is not None}
    read = {f"cell.inputs.{i}.options.{ENAS_PATH[f'node{i}/input']}.weight" for i in range(2, 6)}
    assert read == {name for name in run if name.startswith("cell.inputs")}


def test_there_is_one_product_for_each_state_that_is_read():
    cell = made(DARTS).cell
    gates = {**path(DARTS.build().cell(dict(enumerate(DARTS_V2, start=1)))), "3->8": {"tanh": 0.5, "relu": 0.5}}
    gates["5->8"] = {"none": 0.5, "identity": 0.5}
    plan = cell.plan(gates, torch.zeros(()))
    assert [[(0,)], [(1,)], [(1,)], [(1,)], [(2,)], [(5,)], [(3,)], [(3, 5)]] == [
        [reading.sources for reading in parts] for parts in plan.nodes
    ]
    assert [1, 1, 1, 1, 1, 1, 1, 3] == [len(parts[0].mixture) for parts in plan.nodes]


@pytest.mark.parametrize(("name", "choice", "option"), [
    ("darts_rnn", "0->2", "relu"),
    ("darts_rnn", "5->8", "tanh"),
    ("enas_rnn", "node1/activation", "tanh"),
    ("enas_rnn", "node3/activation", "tanh"),
    ("enas_rnn", "node5/input", "3"),
])  # fmt: skip
def test_a_probe_has_the_gradient_of_a_weight_of_zero_and_changes_nothing_else(name: str, choice: str, option: str):
    options = SPACES[name]
    cell = dict(enumerate(DARTS_V2, start=1))
    architecture = DARTS.build().cell(cell) if name == "darts_rnn" else Architecture(ENAS_PATH)
    network = made(options).eval()
    gates = path(architecture)

    def run(more: Mapping[str, object]) -> tuple[Tensor, dict[str, Tensor | None]]:
        network.reset()
        network.zero_grad()
        logits = network(X_TB, {**gates, choice: {**gates[choice], **more}})
        logits.square().sum().backward()
        return logits, {name: p.grad for name, p in network.named_parameters()}

    plain, probe = (torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2))
    expected, without = run({})
    run({option: plain})
    logits, gradients = run({option: Probe(probe)})
    assert plain.grad != 0
    assert torch.allclose(plain.grad, probe.grad)
    assert torch.allclose(expected, logits)
    assert [n for n in without if without[n] is None] == [n for n in gradients if gradients[n] is None]
    assert all(g is None or torch.allclose(g, gradients[n]) for n, g in without.items())


@pytest.mark.parametrize("name", SPACES)
def test_an_open_choice_without_a_gate_and_an_unknown_option_are_errors_that_name_them(name: str):
    options = SPACES[name]
    choice = options.build().choices[-1]
    network, gates = made(options), path(options.build().sample(Random(1)))
    with pytest.raises(ValueError, match=rf"{choice.name}' is open: give gates"):
        network(X_TB, {other: weights for other, weights in gates.items() if other != choice.name})
    with pytest.raises(ValueError, match=rf"{choice.name}' has no option 'selu' here"):
        network(X_TB, {**gates, choice.name: {"selu": 1.0}})


def test_the_operations_of_the_darts_space_are_the_activations_and_none():
    assert OPERATIONS == ("none", *FUNCTIONS)
