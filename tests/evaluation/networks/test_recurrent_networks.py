"""What stands around a recurrent cell: the carried state, the masks, and the one matrix of embedding and decoder."""

from __future__ import annotations

import copy
from random import Random

import pytest
import torch
from torch import Tensor

from spark_nas.evaluation.networks.build import build
from spark_nas.evaluation.networks.recurrent import kept
from spark_nas.evaluation.sequences import CarriedStates
from spark_nas.spaces.core import SUPERNET, Architecture
from spark_nas.spaces.darts_rnn import DartsRnn
from spark_nas.spaces.enas_rnn import EnasRnn
from tests.evaluation.networks.counting import parameters

SPACES = {"darts_rnn": DartsRnn(hidden=6, nodes=3), "enas_rnn": EnasRnn(hidden=6, nodes=3)}
DROPOUTS = ("dropout_output", "dropout_hidden", "dropout_input", "dropout_between", "dropout_embedding")
DRY = dict.fromkeys(DROPOUTS, 0.0)


@pytest.fixture(params=SPACES)
def options(request: pytest.FixtureRequest):
    return SPACES[request.param]


def child(
    options: DartsRnn | EnasRnn, recipe: dict[str, float] | None = None, *, affine: bool = True, classes: int = 9
):
    return build(options, options.build().sample(Random(1)), recipe or {}, (), classes, affine=affine, seed=1)


def text(steps: int, columns: int, seed: int = 1) -> Tensor:
    return torch.randint(9, (steps, columns), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("cut", [1, 4, 7])
def test_two_windows_are_one_long_window(options: DartsRnn | EnasRnn, cut: int):
    network, x = child(options).eval(), text(8, 3)
    whole = network(x)
    network.reset()
    assert torch.allclose(whole, torch.cat([network(x[:cut]), network(x[cut:])]), atol=1e-6)


def test_a_gradient_ends_at_the_beginning_of_its_window(options: DartsRnn | EnasRnn):
    network = child(options, DRY)
    first = network(text(2, 3))
    network(text(2, 3, seed=2)).sum().backward()
    assert not network.carried.requires_grad
    first.sum().backward()  # its graph has not been freed: no part of it belonged to the second window


def test_the_state_is_carried_outside_the_state_dict(options: DartsRnn | EnasRnn):
    network, names = child(options), set(child(options).state_dict())
    assert network.carried is None
    network(text(4, 3))
    assert network.carried.shape == (3, 6)
    assert names == set(network.state_dict())


def test_reset_and_another_number_of_columns_begin_anew(options: DartsRnn | EnasRnn):
    network, x = child(options).eval(), text(4, 3)
    begun = network(x)
    assert not torch.allclose(begun, network(x))
    network.reset()
    assert torch.equal(begun, network(x))
    network(text(4, 2))
    assert torch.equal(begun, network(x))


def test_what_was_carried_out_of_inference_mode_may_be_trained_on(options: DartsRnn | EnasRnn):
    network, x = child(options, DRY), text(4, 3)
    with torch.inference_mode():
        network(x)
    network(x).sum().backward()
    assert network.get_parameter("cell.input").grad.abs().sum() > 0


def test_a_look_aside_leaves_the_carried_state_as_it_was(options: DartsRnn | EnasRnn):
    network, streams = child(options).eval(), CarriedStates()
    network(text(4, 3))
    before = network.carried
    with streams.aside(network, "valid"):
        looked = network(text(4, 3, seed=2))
    assert torch.equal(before, network.carried)
    network.reset()
    assert torch.equal(looked, network(text(4, 3, seed=2)))


def test_a_copy_of_a_network_goes_on_by_itself(options: DartsRnn | EnasRnn):
    network = child(options, DRY)
    network(text(4, 3))
    twin = copy.deepcopy(network)
    expected = network(text(4, 3, seed=2))
    assert torch.equal(expected, twin(text(4, 3, seed=2)))


def test_nothing_is_dropped_in_evaluation_mode(options: DartsRnn | EnasRnn):
    network, dry, x = child(options).eval(), child(options, DRY).eval(), text(4, 3)
    assert torch.equal(dry(x), network(x))


@pytest.mark.parametrize("name", DROPOUTS)
def test_each_rate_drops_something_in_training_mode(options: DartsRnn | EnasRnn, name: str):
    network, dry, x = child(options, {**DRY, name: 0.5}), child(options, DRY), text(4, 3)
    torch.manual_seed(1)
    assert not torch.allclose(dry(x), network(x))


def test_a_mask_has_zeros_at_its_rate_and_the_mean_one():
    torch.manual_seed(1)
    mask = kept((200, 500), 0.2, torch.zeros(()))
    assert {0.0, 1.25} == set(mask.unique().tolist())
    assert mask.mean().item() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("name", ["dropout_between", "dropout_input"])
def test_a_mask_of_vectors_holds_for_all_time_steps_and_differs_between_columns(name: str):
    network = child(DartsRnn(hidden=200, nodes=1), {**DRY, name: 0.5})
    torch.manual_seed(1)
    embedded_TBE = network._embedded(torch.ones(5, 2, dtype=torch.int64))
    assert torch.equal(embedded_TBE[:1].expand(5, -1, -1), embedded_TBE)
    assert not torch.equal(embedded_TBE[:, 0], embedded_TBE[:, 1])
    assert (embedded_TBE == 0).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_a_word_is_dropped_everywhere_or_nowhere():
    network = child(DartsRnn(hidden=4, nodes=1), {**DRY, "dropout_embedding": 0.5}, classes=50)
    torch.manual_seed(1)
    x_TB = torch.arange(50).repeat(2, 3).reshape(20, 15)
    dropped_TB = (network._embedded(x_TB) == 0).all(dim=2)
    words = {bool(dropped_TB[x_TB == word].all()) for word in range(50)}
    assert all(dropped_TB[x_TB == word].unique().numel() == 1 for word in range(50))
    assert {True, False} == words


def test_the_output_mask_holds_for_all_time_steps():
    network = child(DartsRnn(hidden=50, nodes=1), {**DRY, "dropout_output": 0.5}, classes=1)
    seen: list[Tensor] = []
    network.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(1)
    network(torch.zeros(6, 2, dtype=torch.int64))
    zero_TBH = (seen[0] == 0).reshape(6, 2, 50)
    assert torch.equal(zero_TBH[:1].expand(6, -1, -1), zero_TBH)
    assert zero_TBH.float().mean().item() == pytest.approx(0.5, abs=0.15)


def test_embedding_and_decoder_are_one_tensor(options: DartsRnn | EnasRnn):
    network = child(options)
    shapes = [tuple(parameter.shape) for parameter in network.parameters()]
    assert shapes.count((9, 6)) == 1
    assert (9, 6) == tuple(network.state_dict()["classifier.weight"].shape)


def test_an_embedding_of_another_width_is_reached_through_a_matrix(options: DartsRnn | EnasRnn):
    network = child(options, {"embedding": 4})
    assert network.get_parameter("projection.weight").shape == (4, 6)
    assert network(text(4, 3)).shape == (12, 9)
    assert parameters(network) == parameters(child(options)) - 2 * 9 - 2 * 12 + 4 * 6


def test_the_published_network_has_the_size_that_its_authors_print():
    network = build(DartsRnn(), DartsRnn().build().sample(Random(1)), {}, (), 10_000)
    assert parameters(network) == 22_960_000  # "23M"


@pytest.mark.parametrize(("hidden", "largest"), [(300, 0.1), (400, 0.05), (401, 0.04)])
def test_matrices_of_enas_start_in_the_range_of_the_release(hidden: int, largest: float):
    network = child(EnasRnn(hidden=hidden, nodes=2))
    for name, parameter in network.named_parameters():
        if name != "classifier.bias":
            assert parameter.abs().max().item() == pytest.approx(largest, rel=0.01)


def test_matrices_of_darts_start_uniform_up_to_0_04():
    network = child(DartsRnn(hidden=100, nodes=2), classes=500)
    for name, parameter in network.named_parameters():
        expected = 0.0 if name == "classifier.bias" else 0.04
        assert parameter.abs().max().item() == pytest.approx(expected, rel=0.01)
        assert parameter.std().item() == pytest.approx(expected / 3**0.5, rel=0.02)


def test_the_search_form_keeps_statistics_of_each_state():
    network = build(DartsRnn(hidden=6, nodes=3), SUPERNET, {}, (), 9, affine=False)
    norms = [name for name in network.state_dict() if name.endswith("running_mean")]
    assert norms == [f"cell.norms.{state}.running_mean" for state in range(4)]
    plain = build(DartsRnn(hidden=6, nodes=3, search_norm=False), SUPERNET, {}, (), 9, affine=False)
    assert [] == [name for name in plain.state_dict() if "norms" in name]


def test_mixtures_grow_beyond_measure_without_norms():
    """Each node is a sum over all states before it, and each time step starts from the last."""
    logits = []
    for normed in (True, False):
        options = DartsRnn(hidden=16, search_norm=normed)
        network = build(options, SUPERNET, DRY, (), 9, affine=False, seed=1)
        gates = {c.name: dict.fromkeys(c.options, 1 / len(c.options)) for c in options.build().choices}
        logits.append(network(text(35, 8) % 9, gates).abs().max().item())
    assert logits[0] < 10 < 1e6 < logits[1]


def test_half_precision_runs_and_carries_on(options: DartsRnn | EnasRnn):
    network, x = child(options, DRY, affine=False), text(4, 3)
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
        logits.float().sum().backward()
        assert torch.isfinite(logits).all()


def test_it_learns_what_cannot_be_told_from_the_last_token(options: DartsRnn | EnasRnn):
    # A chain of tanh: bounded, so that it needs no clipping.
    chain = {choice.name: choice.options[-1] for choice in options.build().choices}
    chain |= dict.fromkeys([name for name in chain if name.endswith("activation")], "tanh")
    chain |= {name: "tanh" if int(name[3:]) == int(name[0]) + 1 else "none" for name in chain if "->" in name}
    network = build(options, Architecture(chain), {**DRY, "hidden": 16}, (), 2, seed=1)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.03)
    stream_NB = torch.tensor([0, 0, 1, 1]).repeat(200)[:, None].expand(-1, 2)
    losses = []
    for start in range(0, 50 * 8, 8):
        window_TB, targets_TB = stream_NB[start : start + 8], stream_NB[start + 1 : start + 9]
        loss = torch.nn.functional.cross_entropy(network(window_TB), targets_TB.reshape(-1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(0.69, abs=0.02)  # the best that the last token allows, too: log 2
    assert losses[-1] < 0.05
