"""Checkpoints as bytes that say what they belong to, and are read without unpickling anything but tensors.

    MAGIC | SHA-256 of the payload (32 bytes) | payload: torch.save of dicts, lists, tensors, numbers, strings

torch's own container does not notice a flipped bit in a tensor, hence the digest. The *identity* is a dict of
texts (space, architecture, recipe, seed, ...): training continues only what it began.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from spark_nas.errors import JobError

MAGIC = b"spark_nas checkpoint 1\n"
_DIGEST = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """All that the next job of a trial starts from."""

    identity: Mapping[str, str]
    """What was trained, and how; equal in every job of a trial."""
    epoch: int
    """Epochs trained in all."""
    network: Mapping[str, Any]
    """State dicts: tensors, numbers, strings, and lists and dicts of them."""
    optimiser: Mapping[str, Any]
    method: Mapping[str, Any]
    curve: Sequence[Any] = ()
    """Of a recovery checkpoint: what the job has measured so far; empty in one that a job leaves at its end."""


def dump(checkpoint: Checkpoint) -> bytes:
    """The bytes of a checkpoint."""
    buffer = io.BytesIO()
    state = {name: _plain(getattr(checkpoint, name)) for name in Checkpoint.__slots__}
    torch.save(state, buffer)
    payload = buffer.getvalue()
    return MAGIC + hashlib.sha256(payload).digest() + payload


def load(data: bytes, identity: Mapping[str, str]) -> Checkpoint:
    """The inverse of `dump`, with all tensors on the CPU.

    Raises JobError, saying what is wrong, for bytes that are not a checkpoint, are damaged, or belong to
    something else than `identity` describes.
    """
    if not data.startswith(MAGIC):
        raise JobError(f"checkpoint of {len(data)} bytes: not one of this version of spark_nas (starts {data[:16]!r})")
    digest, payload = data[len(MAGIC) :][:_DIGEST], data[len(MAGIC) + _DIGEST :]
    if hashlib.sha256(payload).digest() != digest:
        raise JobError(f"checkpoint of {len(data)} bytes is damaged: its digest does not match its content")
    try:
        checkpoint = Checkpoint(**torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True))
    except Exception as error:
        raise JobError(f"checkpoint cannot be read: {error}") from error
    for key in sorted({*identity, *checkpoint.identity}):
        expected, found = identity.get(key), checkpoint.identity.get(key)
        if expected != found:
            raise JobError(f"checkpoint belongs to another training: its {key} is {found}, not {expected}")
    return checkpoint


def _plain(value: Any) -> Any:  # noqa: ANN401 - a state dict holds anything
    """Mappings as dicts, so that `weights_only` reads them; tensors detached, on the CPU, owning their memory."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        # A view drags its whole storage into the file.
        return value.clone() if value.untyped_storage().nbytes() > value.nbytes else value
    return value
