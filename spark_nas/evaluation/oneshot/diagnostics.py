"""Numbers that tell how a search over mixture weights is doing.

Entropy falls as the search decides. DARTS collapses where it derives more and more skip connections, and the dominant
eigenvalue of the validation loss's Hessian with respect to the architecture parameters, which grows before, foretells
it (Zela et al., ICLR 2020, sections 3 and 4).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from spark_nas.spaces.core import Architecture, SearchSpace

SKIPS = frozenset({"skip_connect", "identity", "skip", "zero"})
"""The options that hand on their input, in all spaces; `zero` leaves only a block's shortcut."""
_ACTIVATION = "tanh"
"""An option of every choice of an activation, in all spaces."""
_ITERATIONS = 30
_TOLERANCE = 1e-3


def entropies(p_EK: Tensor) -> list[float]:
    """The entropy of each row in nats: 0 is decided, log K undecided among K."""
    found: list[float] = torch.special.entr(p_EK).sum(-1).tolist()
    return found


def skip_connections(space: SearchSpace, architecture: Architecture) -> int:
    """How many choices take an option without weights that hands on its input.

    Not the activations of a recurrent cell: there `identity` stands behind a matrix, beside `tanh`.
    """
    operations = [choice for choice in space.choices if _ACTIVATION not in choice.options]
    return sum(architecture.get(choice.name) in SKIPS for choice in operations)


def dominant_eigenvalue(
    loss: Tensor, leaves: Sequence[Tensor], *, iterations: int = _ITERATIONS, tolerance: float = _TOLERANCE
) -> float:
    """The eigenvalue of largest magnitude of the Hessian of `loss` by all `leaves` together, with its sign.

    Power iteration on products of the Hessian with a vector, from a random one of torch's generator, until the
    Rayleigh quotient changes by less than `tolerance`, relatively. A loss without
    curvature, as of a network that is piecewise linear in the leaves, gives 0.
    """
    first = torch.autograd.grad(loss, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
    gradient = torch.cat([part.flatten() for part in first])
    vector = torch.randn(gradient.shape, dtype=gradient.dtype).to(gradient.device)
    value = 0.0
    if not gradient.requires_grad:
        return value
    for _ in range(iterations):
        vector = vector / vector.norm()
        product = _hessian_vector_product(gradient, leaves, vector)
        before, value = value, torch.dot(vector, product).item()
        if abs(value - before) <= tolerance * abs(value):
            break
        vector = product
    return value


def _hessian_vector_product(gradient: Tensor, leaves: Sequence[Tensor], vector: Tensor) -> Tensor:
    parts = torch.autograd.grad(
        gradient, leaves, grad_outputs=vector, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return torch.cat([part.flatten() for part in parts])
