"""ENAS between epochs: how rewards are measured, what is learnt from them, and what is reported."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn, optim
from torch.nn import functional

from spark_nas.checking import Checker
from spark_nas.errors import OptionError
from spark_nas.evaluation.loop import Lesson
from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.oneshot.controller import Rollout
from spark_nas.evaluation.oneshot.enas import Enas, EnasMethod, skip_divergence
from spark_nas.evaluation.oneshot.protocol import Batch, path
from spark_nas.evaluation.training import Training
from spark_nas.search.records import SUPERNET
from spark_nas.spaces.core import Architecture, Choice, IndependentChoices
from spark_nas.spaces.enas_macro import EnasMacro
from spark_nas.spaces.enas_rnn import EnasRnn

SPACE = IndependentChoices("toy", (Choice("a", ("x", "y", "z")), Choice("b", ("x", "y", "z"))))
PLAIN: dict[str, Any] = {"tanh_constant": 0.0, "operation_divisor": 1.0, "convolution_logit": 0.0}
BEST = Architecture({"a": "z", "b": "y"})


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        yield


class Table(nn.Module):
    """Answers rightly (class 1) where the gates name the best options, with dropout and batch norm beside."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.drop, self.norm = nn.Dropout(0.5), nn.BatchNorm1d(1)
        self.seen: list[tuple[bool, bool, dict[str, str]]] = []

    def forward(self, x_B1: Tensor, gates: Mapping[str, Mapping[str, float]] | None = None) -> Tensor:
        decided = {choice: next(iter(options)) for choice, options in (gates or {}).items()}
        self.seen.append((self.training, self.norm.training, decided))
        right = sum(BEST[choice] == option for choice, option in decided.items())
        ones_B1 = self.drop(torch.ones_like(x_B1)) + 0.0 * self.norm(x_B1)
        return torch.cat([1.5 * ones_B1, self.scale * right * ones_B1], dim=1)


def lesson(network: nn.Module) -> Lesson:
    return Lesson(network.train(), optim.SGD(network.parameters(), lr=0.1), Training(), 2)


def validation() -> Callable[[], Batch]:
    return lambda: Batch(torch.randn(4, 1), torch.ones(4, dtype=torch.int64), "valid")


def test_between_epochs_the_controller_learns_which_paths_answer_rightly():
    """Accuracy is 1 where at least one decision is right: five of nine architectures, and the policy finds them."""
    method, network = Enas(**PLAIN, controller_steps=60, learning_rate=0.02).build(SPACE), Table()
    method.finish_epoch(lesson(network), validation())
    assert 600 == len(network.seen)
    late = [decided for *_, decided in network.seen[-100:]]
    assert sum(any(BEST[name] == option for name, option in one.items()) for one in late) > 90


def test_rewards_are_measured_as_scores_are_and_the_network_goes_on_training():
    """Nothing is dropped, batch norms go by the batch; each architecture has a validation batch of its own."""
    method, network, asked = Enas(controller_steps=2, aggregate=3).build(SPACE), Table(), list[Batch]()
    valid = validation()
    method.finish_epoch(lesson(network), lambda: asked.append(valid()) or asked[-1])
    assert 6 == len(asked) == len(network.seen)
    assert {(False, True)} == {(training, norm) for training, norm, _ in network.seen}
    assert network.training
    assert network.drop.training
    assert 0 == network.norm.num_batches_tracked
    assert network.scale.grad is None


def test_the_network_trains_on_also_where_a_reward_cannot_be_measured():
    method, network = Enas(controller_steps=1).build(SPACE), Table()

    def broken() -> Batch:
        raise OSError("no batch")

    with pytest.raises(OSError, match="no batch"):
        method.finish_epoch(lesson(network), broken)
    assert network.training


@pytest.mark.parametrize(
    ("scale", "cap", "expected"),
    [
        (2.0, 10.0, 80 / (1 + math.exp(1.5 - 4))),
        (-100.0, 10.0, 80 * math.exp(-10)),
        (-100.0, 3.0, 80 * math.exp(-3)),
        (math.nan, 10.0, 80 * math.exp(-10)),
    ],
)
def test_the_reward_of_a_text_is_a_constant_by_its_perplexity(scale: float, cap: float, expected: float):
    """All draws of a space with one architecture, whose two decisions are right."""
    space = IndependentChoices("one", (Choice("a", ("z",)), Choice("b", ("y",))))
    method, network = Enas(reward="perplexity", loss_cap=cap, controller_steps=1, aggregate=2).build(space), Table()
    with torch.no_grad():
        network.scale.fill_(scale)
    method.finish_epoch(lesson(network), validation())
    assert pytest.approx(expected, rel=1e-5) == method.diagnostics()["reward"]


def test_a_recurrent_supernet_is_rewarded_by_the_perplexity_of_its_validation_text():
    """The state of the validation stream is the method's own; the training text's state is as before."""
    options = EnasRnn(nodes=3, hidden=6)
    network = build(options, SUPERNET, {}, (), 11, affine=False, seed=1)
    method = Enas(hidden=8, controller_steps=2, aggregate=2, reward="perplexity", distance_penalty=True).build(
        options.build()
    )
    learner = lesson(network)
    network(torch.randint(11, (5, 2)), method.gates())
    carried = network.carried.clone()

    def valid() -> Batch:
        return Batch(torch.randint(11, (5, 2)), torch.randint(11, (10,)), "valid")

    batch, drawn = valid(), method.derive()[0]
    network.eval()
    loss = functional.cross_entropy(learner.logits(batch, path(drawn)), batch.y).item()
    method.finish_epoch(learner, valid)
    assert torch.equal(carried, network.carried)
    # An untrained network knows nothing: its perplexity is about the size of the vocabulary.
    assert pytest.approx(80 / 11, rel=0.5) == 80 * math.exp(-loss)
    assert pytest.approx(80 / 11, rel=0.5) == method.diagnostics()["reward"]


def probabilities_of_skips(method: EnasMethod, rollout: Rollout) -> Sequence[float]:
    names = [choice.name for choice in EnasMacro(layers=4).build().choices]
    return [p[:, 1].exp().mean().item() for name, p in zip(names, rollout.log_p, strict=True) if "skip" in name]


def test_skips_are_drawn_to_their_target():
    """Without advantages, from one half; the divergence is that of Kullback and Leibler, summed over a layer."""
    space = EnasMacro(layers=4).build()
    method = Enas(
        tanh_constant=0, convolution_logit=0, entropy_weight=0, skip_target=0.25, learning_rate=0.04, baseline_decay=0
    ).build(space)
    with torch.no_grad():
        for parameter in method.controller.parameters():
            parameter.zero_()
    rollout = method.controller.sample(4)
    one = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    # Layers 2, 3 and 4 have one, two and three skips.
    assert pytest.approx(6 * one / 3, rel=1e-5) == skip_divergence(space, rollout, 0.25).item()
    assert [pytest.approx(0.5)] * 6 == probabilities_of_skips(method, rollout)
    for _ in range(50):
        method.learn(method.controller.sample(4).decisions_NC, [0.0] * 4)
    rollout = method.controller.sample(4)
    assert [pytest.approx(0.25, abs=0.02)] * 6 == probabilities_of_skips(method, rollout)
    assert skip_divergence(space, rollout, 0.25).item() < 1e-3


def test_a_space_without_skips_has_no_target_for_them():
    assert skip_divergence(SPACE, Enas().build(SPACE).controller.greedy(), 0.4) is None


def test_diagnostics_are_entropy_reward_baseline_and_skips():
    space = EnasMacro(layers=3).build()
    method = Enas(controller_steps=1, aggregate=2, entropy_per_choice=True).build(space)
    assert {} == method.diagnostics()
    network = build(EnasMacro(layers=3, filters=2), SUPERNET, {}, (1, 8, 8), 10, affine=False, seed=1)
    method.finish_epoch(lesson(network), lambda: Batch(torch.randn(4, 1, 8, 8), torch.randint(10, (4,)), "valid"))
    found = dict(method.diagnostics())
    entropies = [found.pop(f"entropy/{choice.name}") for choice in space.choices]
    assert {"entropy", "reward", "baseline", "skip_connections"} == set(found)
    assert pytest.approx(math.fsum(entropies) / len(entropies)) == found["entropy"]
    assert all(0 < entropy <= math.log(6) + 1e-6 for entropy in entropies)
    assert 0 <= found["reward"] <= 1
    assert found["skip_connections"] in (0, 1, 2, 3)


def test_the_other_released_searches_are_settings_of_the_same_options():
    """Those that the documentation of the options gives, on their spaces, as an experiment file would have them."""
    presets = [
        yaml.safe_load(f"{{{text}}}") for text in re.findall(r"`((?:\w+: [\w.]+[,\s]*){4,})`", str(Enas.__doc__))
    ]
    macro, rnn = (Checker("presets").build(Enas, preset, "method") for preset in presets)
    assert (50, 20, 0.001, 1.5, "sampled") == (
        macro.controller_steps,
        macro.aggregate,
        macro.learning_rate,
        macro.tanh_constant,
        macro.entropy,
    )
    assert (100, 5.0, 2.5, True, "perplexity", 0.001) == (
        rnn.hidden,
        rnn.temperature,
        rnn.tanh_constant,
        rnn.distance_penalty,
        rnn.reward,
        rnn.entropy_weight,
    )
    for options, space in ((macro, EnasMacro(layers=3).build()), (rnn, EnasRnn(nodes=3).build())):
        assert {choice.name for choice in space.choices} == set(options.build(space).gates())


def test_a_controller_without_steps_stays_as_it_is():
    method = Enas(controller_steps=0).build(SPACE)
    method.finish_epoch(lesson(Table()), validation())
    assert {} == method.diagnostics()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("aggregate", 0),
        ("derived", 0),
        ("controller_steps", -1),
        ("learning_rate", math.nan),
        ("betas", (0.9, 1.0)),
        ("baseline_decay", 1.0),
        ("skip_target", 0.0),
        ("skip_weight", -1.0),
        ("temperature", 0.0),
    ],
)
def test_an_option_of_which_nothing_can_be_learnt_is_refused(key: str, value: Any):  # noqa: ANN401
    with pytest.raises(OptionError) as caught:
        Enas(**{key: value})
    assert key == caught.value.key
