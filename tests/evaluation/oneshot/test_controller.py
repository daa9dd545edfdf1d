"""The policy of ENAS: exact probabilities, in any space, and the settings of the release."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import pytest
import torch
from torch import Tensor

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.controller import Controller, ControllerOptions, is_input, is_skip
from spark_nas.spaces import darts, darts_rnn, enas_macro, enas_micro, enas_rnn, nas_bench_201, proxyless
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices, SearchSpace

SPACES: dict[str, SearchSpace] = {
    "darts": darts.Darts().build(),
    "darts_rnn": darts_rnn.DartsRnn(nodes=3).build(),
    "enas_macro": enas_macro.EnasMacro(layers=3).build(),
    "enas_micro": enas_micro.EnasMicro(nodes=2).build(),
    "enas_rnn": enas_rnn.EnasRnn(nodes=4).build(),
    "nas_bench_201": nas_bench_201.NasBench201().build(),
    "proxyless": proxyless.Proxyless().build(),
}
TOY = IndependentChoices("toy", (Choice("a", ("x", "y", "z")), Choice("b", ("x", "y", "z"))))
RNN = ControllerOptions(
    temperature=5, tanh_constant=2.5, operation_divisor=1, convolution_offset=0, distance_penalty=True
)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


def decisive(space: SearchSpace, options: ControllerOptions | None = None) -> Controller:
    """A controller in double precision whose decisions do depend on one another."""
    made = Controller(space, options or ControllerOptions(hidden=8, tanh_constant=0, convolution_logit=0)).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-1.5, 1.5)
    return made


def every_architecture(space: SearchSpace) -> Tensor:
    """The decisions [N, C] of all complete architectures."""
    sizes = [range(len(choice.options)) for choice in space.choices]
    rows = [
        row
        for row in product(*sizes)
        if space.contains(Architecture({c.name: c.options[i] for c, i in zip(space.choices, row, strict=True)}))
    ]
    return torch.tensor(rows)


@pytest.mark.parametrize("space", [TOY, darts_rnn.DartsRnn(nodes=2).build(), enas_rnn.EnasRnn(nodes=3).build()])
def test_probabilities_of_all_architectures_of_a_space_sum_to_1(space: SearchSpace):
    """Also of a constrained one, whose impossible architectures have none of it."""
    every = every_architecture(space)
    assert space.size() == len(every)
    log_p_N = decisive(space).replay(every).log_p_of_decisions().sum(1)
    assert math.isclose(1.0, log_p_N.exp().sum().item(), abs_tol=1e-12)
    assert log_p_N.exp().max() > 2 * log_p_N.exp().mean()


@pytest.mark.parametrize("name", sorted(SPACES))
def test_what_is_drawn_is_complete_and_in_the_space(name: str):
    space = SPACES[name]
    made = Controller(space, ControllerOptions(hidden=8))
    for rollout, count in ((made.sample(6), 6), (made.greedy(), 1)):
        architectures = made.architectures(rollout.decisions_NC)
        assert count == len(architectures)
        assert all(space.contains(one) and len(one) == len(space.choices) for one in architectures)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("name", sorted(SPACES))
def test_a_replayed_architecture_has_the_probability_it_was_drawn_with(name: str, layers: int):
    made = Controller(SPACES[name], ControllerOptions(hidden=8, layers=layers))
    drawn = made.sample(3)
    expected = drawn.log_p_of_decisions()
    torch.testing.assert_close(expected, made.replay(drawn.decisions_NC).log_p_of_decisions(), rtol=0, atol=1e-6)
    torch.testing.assert_close(expected[2:], made.replay(drawn.decisions_NC[2:]).log_p_of_decisions())


def test_draws_have_their_probabilities():
    """Chi-square over all nine architectures, with 8 degrees of freedom: 26.1 is exceeded once in a thousand."""
    made, every, count = decisive(TOY), every_architecture(TOY), 20000
    expected_N = count * made.replay(every).log_p_of_decisions().sum(1).exp()
    drawn_NC = made.sample(count).decisions_NC
    actual_N = torch.stack([(drawn_NC == row).all(1).sum() for row in every])
    assert expected_N.min() > 5
    assert ((actual_N - expected_N) ** 2 / expected_N).sum() < 26.1


def test_a_seed_decides_what_is_drawn():
    made = Controller(TOY, ControllerOptions())
    torch.manual_seed(7)
    first = made.sample(20).decisions_NC
    torch.manual_seed(7)
    assert torch.equal(first, made.sample(20).decisions_NC)
    assert not torch.equal(first, made.sample(20).decisions_NC)


@pytest.mark.parametrize("space", [TOY, darts_rnn.DartsRnn(nodes=2).build()])
def test_the_expected_entropy_of_the_decisions_is_that_of_the_architectures(space: SearchSpace):
    rollout = decisive(space).replay(every_architecture(space))
    log_p_N = rollout.log_p_of_decisions().sum(1)
    expected = -(log_p_N.exp() * log_p_N).sum().item()
    actual = (log_p_N.exp() * rollout.entropies().sum(1)).sum().item()
    assert math.isclose(expected, actual, abs_tol=1e-12)


def test_the_entropy_has_a_gradient_where_options_are_ruled_out():
    made = Controller(SPACES["darts"], ControllerOptions(hidden=8))
    made.sample(3).entropies().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in made.parameters())


def test_the_most_probable_decisions_are_those_of_each_step():
    made = decisive(TOY)
    [[first, second]] = made.greedy().decisions_NC.tolist()
    log_p_a, log_p_b = made.greedy().log_p
    assert (int(log_p_a[0].argmax()), int(log_p_b[0].argmax())) == (first, second)


def silent(space: SearchSpace, options: ControllerOptions) -> dict[str, list[float]]:
    """The probabilities of each choice where the LSTM says nothing: what the settings alone make."""
    made = Controller(space, options)
    with torch.no_grad():
        for name, parameter in made.named_parameters():
            if not name.endswith("bias"):
                parameter.zero_()
    return {c.name: p.exp()[0].tolist() for c, p in zip(space.choices, made.greedy().log_p, strict=True)}


def softmax(*logits: float) -> list[float]:
    probabilities: list[float] = torch.tensor(logits, dtype=torch.float64).softmax(0).tolist()
    return [pytest.approx(value, abs=1e-6) for value in probabilities]


def test_image_cells_begin_with_convolutions():
    """The release: biases of 10 through 1.1 / 2.5 * tanh, a quarter added to convolutions, taken from the rest."""
    found = silent(SPACES["enas_micro"], ControllerOptions())
    conv, other = 1.1 / 2.5 + 0.25, -0.25
    for name, probabilities in found.items():
        if name.endswith("operation"):
            assert softmax(conv, conv, other, other, other) == probabilities
        else:
            assert softmax(*[0.0] * len(probabilities)) == probabilities


def test_convolutions_need_not_be_favoured():
    found = silent(SPACES["nas_bench_201"], ControllerOptions(convolution_logit=0, convolution_offset=0))
    assert all(softmax(*[0.0] * 5) == probabilities for probabilities in found.values())


def test_nodes_of_recurrent_cells_are_drawn_to_the_one_before():
    found = silent(SPACES["enas_rnn"], RNN)
    assert softmax(-9 / 12, -4 / 12, -1 / 12) == found["node4/input"]
    assert softmax(-4 / 12, -1 / 12) == found["node3/input"]
    assert softmax(0, 0, 0, 0) == found["node4/activation"]


def test_logits_go_through_temperature_tanh_and_divisor():
    """With a constant LSTM output, by hand; operations alone are divided."""
    space = SPACES["enas_micro"]
    options = ControllerOptions(temperature=5, tanh_constant=2.5, operation_divisor=2, convolution_offset=0)
    made, bias = Controller(space, options), {"input": 4.0, "operation": 3.0}
    with torch.no_grad():
        for choice, head in zip(space.choices, made.heads, strict=True):
            head.get_parameter("weight").zero_()
            head.get_parameter("bias").zero_()[0] = bias[choice.name.split("/")[-1]]
    found = dict(zip([choice.name for choice in space.choices], made.greedy().log_p, strict=True))
    inputs, operations = found["normal/node3/left/input"], found["normal/node3/left/operation"]
    assert softmax(2.5 * math.tanh(4 / 5), 0, 0) == inputs.exp()[0].tolist()
    assert softmax(2.5 * math.tanh(3 / 5) / 2, 0, 0, 0, 0) == operations.exp()[0].tolist()


def test_without_a_tanh_the_policy_may_become_sure():
    space = IndependentChoices("one", (Choice("a", ("x", "y")),))
    for constant, least in ((0.0, 0.999), (1.1, 0.5)):
        made = Controller(space, ControllerOptions(tanh_constant=constant, operation_divisor=1))
        with torch.no_grad():
            made.heads[0].get_parameter("bias")[0] = 50.0
        likely = made.greedy().log_p[0].exp().max().item()
        assert (least, constant) < (likely, math.inf)
        assert (likely > 0.9) == (constant == 0)


def test_kinds_of_choices_are_told_by_what_they_offer():
    kinds = [(is_input(c), is_skip(c), c.name) for c in (*SPACES["enas_macro"].choices, *SPACES["enas_rnn"].choices)]
    assert all(found == name.endswith("input") for found, _, name in kinds)
    assert all(found == ("skip" in name) for _, found, name in kinds)
    assert not is_input(Choice("width", ("16", "32")))
    assert not is_input(Choice("input", ("left", "right")))


@dataclass(frozen=True)
class DeadEnd(IndependentChoices):
    """After `x` nothing can follow."""

    def contains(self, architecture: Architecture) -> bool:
        return architecture.get("a") != "x" or "b" not in architecture


def test_a_space_with_a_dead_end_is_named():
    made = Controller(DeadEnd("dead", (Choice("a", ("x",)), Choice("b", ("x", "y")))), ControllerOptions())
    with pytest.raises(ValueError, match="space dead has no option left at 'b' after"):
        made.sample(2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden", 0),
        ("layers", 0),
        ("temperature", 0.0),
        ("operation_divisor", -1.0),
        ("tanh_constant", -0.1),
        ("convolution_logit", math.inf),
    ],
)
def test_a_setting_of_which_no_policy_can_be_made_is_refused(key: str, value: float):
    with pytest.raises(OptionError) as caught:
        ControllerOptions(**{key: value})
    assert (key, value) == (caught.value.key, caught.value.value)
