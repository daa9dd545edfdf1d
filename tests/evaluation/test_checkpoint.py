"""Laws of the checkpoint's bytes."""

from __future__ import annotations

import io
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from spark_nas.errors import JobError
from spark_nas.evaluation.checkpoint import MAGIC, Checkpoint, dump, load

IDENTITY = {"architecture": '{"a":"b"}', "seed": "7"}


def trained() -> Checkpoint:
    """A real state: a layer with batch norm after one step of Adam."""
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimiser = torch.optim.Adam(network.parameters())
    network(torch.arange(12.0).reshape(4, 3)).square().sum().backward()
    optimiser.step()
    return Checkpoint(IDENTITY, 3, network.state_dict(), optimiser.state_dict(), {})


def test_what_is_loaded_is_bitwise_what_was_dumped() -> None:
    before = trained()
    after = load(dump(before), IDENTITY)
    assert (before.epoch, before.identity) == (after.epoch, after.identity)
    assert before.network.keys() == after.network.keys()
    assert all(torch.equal(before.network[name], after.network[name]) for name in before.network)
    for index, state in before.optimiser["state"].items():
        assert all(torch.equal(state[name], after.optimiser["state"][index][name]) for name in state)
    assert before.optimiser["param_groups"] == after.optimiser["param_groups"]


def test_equal_states_give_equal_bytes() -> None:
    checkpoint = trained()
    assert dump(checkpoint) == dump(load(dump(checkpoint), IDENTITY))


def test_a_view_does_not_drag_its_storage_along() -> None:
    whole = torch.zeros(100_000)
    data = dump(replace(trained(), network={"weight": whole[:10]}))
    assert len(data) < 20_000


@pytest.mark.parametrize("place", [0, len(MAGIC) + 3, -200])
def test_one_flipped_bit_anywhere_is_noticed(place: int) -> None:
    data = bytearray(dump(trained()))
    data[place] ^= 1
    with pytest.raises(JobError, match=r"damaged|not one of this version"):
        load(bytes(data), IDENTITY)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 of something else", MAGIC[:-2] + b"9\n"])
def test_foreign_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(JobError, match="not one of this version of spark_nas"):
        load(data, IDENTITY)


def test_a_truncated_checkpoint_is_refused() -> None:
    with pytest.raises(JobError, match="damaged"):
        load(dump(trained())[:-1], IDENTITY)


@pytest.mark.parametrize(("key", "value"), [("seed", "8"), ("architecture", "{}"), ("extra", "x")])
def test_a_checkpoint_of_another_training_is_refused_naming_the_difference(key: str, value: str) -> None:
    with pytest.raises(JobError, match=f"its {key} is .*, not {value}"):
        load(dump(trained()), {**IDENTITY, key: value})


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    """Code hidden in a payload with a right digest is refused by torch's reader, and does not run."""
    import hashlib

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (tmp_path / "touched",)  # type: ignore[return-value]

    buffer = io.BytesIO()
    torch.save({"epoch": Hostile()}, buffer, pickle_module=pickle)
    payload = buffer.getvalue()
    with pytest.raises(JobError, match="cannot be read"):
        load(MAGIC + hashlib.sha256(payload).digest() + payload, IDENTITY)
    assert not (tmp_path / "touched").exists()
