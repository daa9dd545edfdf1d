"""All options at once, each times its weight: the continuous relaxation (Liu et al., ICLR 2019, section 2.2).

    o(x) = sum over options k of p_k * o_k(x)

The choices of a space are the rows E of a tensor and their options its columns K. What p is made of and how it is
learnt is `Weights`: the softmax of parameters that Adam learns (`softmax`), or p itself on the simplex (`simplex`).
Edges may have weights too, beta, that sum to 1 over the incoming edges of a node (PC-DARTS: Xu et al., ICLR 2020,
section 3.3); an option's gate is then beta * p.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.diagnostics import dominant_eigenvalue, entropies, skip_connections
from spark_nas.evaluation.oneshot.protocol import Batch, Gates, Learner, Method, Valid, require_choices
from spark_nas.spaces.core import Architecture, SearchSpace
from spark_nas.spaces.edges import incoming

NONE = "none"
"""The option that adds nothing, in every space that has one."""

TensorGates = dict[str, dict[str, Tensor]]
GatesOf = Callable[[Sequence[Tensor]], TensorGates]
"""The gates as a differentiable function of the architecture's leaves."""


class Layout:
    """Which row and which columns of a tensor [E, K] stand for which choice and its options.

    Choices may have different numbers of options; columns that a row does not use are `absent`.

    Args:
        space: of which every choice is a row. Raises OptionError for one without choices.
        exclude_none: whether `none` is no option, so that no path of it is ever run.
    """

    def __init__(self, space: SearchSpace, *, exclude_none: bool = False) -> None:
        require_choices(space)
        self.space = space
        self.rows = {
            choice.name: tuple(o for o in choice.options if o != NONE or not exclude_none) for choice in space.choices
        }
        self.columns = max(map(len, self.rows.values()))

    def absent(self) -> Tensor:
        """[E, K] bool: columns that stand for nothing."""
        lengths_E1 = torch.tensor([[len(options)] for options in self.rows.values()])
        return torch.arange(self.columns) >= lengths_E1

    def node_of_edge(self) -> Tensor:
        """[N, E] bool: whether an edge leads into a node. Raises OptionError for a space without edges."""
        nodes = incoming(self.space).values()
        return torch.tensor([[name in edges for name in self.rows] for edges in nodes])

    def gates(self, weights_EK: Tensor) -> TensorGates:
        """The weights by name, as 0-dim tensors."""
        weights = iter(weights_EK.flatten().unbind())
        named = {name: [next(weights) for _ in range(self.columns)] for name in self.rows}
        return {name: dict(zip(options, named[name], strict=False)) for name, options in self.rows.items()}

    def named(self, columns_E: Tensor) -> dict[str, str]:
        """One option a choice, by name, of a column for each row."""
        rows = zip(self.rows.items(), columns_E.tolist(), strict=True)
        return {name: options[column] for (name, options), column in rows}

    def table(self, weights_EK: Tensor) -> dict[str, dict[str, float]]:
        """The weights by name, as numbers."""
        rows = zip(self.rows.items(), weights_EK.tolist(), strict=True)
        return {name: dict(zip(options, weights, strict=False)) for (name, options), weights in rows}


class Weights(nn.Module, ABC):
    """The architecture parameters: what they make of the options, and how a gradient changes them.

    `leaves` are what the loss is differentiated by: first of the options [E, K], then of the edges [E] where
    `edge_weights`. The rest is a function of them, so that it can be looked at in several places.
    """

    def __init__(self, layout: Layout, *, edge_weights: bool = False) -> None:
        super().__init__()
        self.layout = layout
        self.absent_EK: Tensor
        self.register_buffer("absent_EK", layout.absent(), persistent=False)
        self.nodes_NE: Tensor | None
        self.register_buffer("nodes_NE", layout.node_of_edge() if edge_weights else None, persistent=False)

    @abstractmethod
    def leaves(self) -> tuple[Tensor, ...]:
        """Tensors without a history, that require a gradient."""
        ...

    @abstractmethod
    def log_probabilities(self, leaves: Sequence[Tensor]) -> Tensor:
        """The logarithm of p, [E, K]; -inf at absent columns."""
        ...

    @abstractmethod
    def edge_weights(self, leaves: Sequence[Tensor]) -> Tensor:
        """beta, [E]; only with weights of edges."""
        ...

    @abstractmethod
    def probabilities(self, leaves: Sequence[Tensor]) -> Tensor:
        """p, [E, K]."""
        ...

    @abstractmethod
    def learn(self, gradients: Sequence[Tensor]) -> None:
        """Take a step against the gradients of the leaves."""
        ...

    def products(self, leaves: Sequence[Tensor]) -> Tensor:
        """What an option counts in the mixture, [E, K]: p, or beta * p."""
        p_EK = self.probabilities(leaves)
        return p_EK if self.nodes_NE is None else p_EK * self.edge_weights(leaves)[:, None]

    def gates(self, leaves: Sequence[Tensor]) -> TensorGates:
        """The products by name."""
        return self.layout.gates(self.products(leaves))


def over_nodes(log_E: Tensor, nodes_NE: Tensor) -> Tensor:
    """The logarithm of beta, [E]: normalised over the incoming edges of each node."""
    sums_N = log_E.expand_as(nodes_NE).masked_fill(~nodes_NE, -math.inf).logsumexp(1)
    return log_E - sums_N[nodes_NE.to(torch.int8).argmax(0)]


@dataclass(frozen=True)
class MixtureOptions:
    """What the methods that learn a mixture have in common."""

    warmup_epochs: float = 0.0
    """Epochs in which only weights are learnt; the architecture stays as it began."""
    hessian: bool = False
    """Whether to report the dominant eigenvalue of the validation loss's Hessian after each epoch."""
    entropy_per_choice: bool = False
    """Whether to report the entropy of every choice, and not only their mean."""

    def __post_init__(self) -> None:
        require_numbers(self, warmup_epochs=0)


def require_numbers(options: object, **least: float) -> None:
    """Raise OptionError where an option is below the number given for it, or not finite."""
    for key, bound in least.items():
        value = getattr(options, key)
        if not bound <= value < math.inf:
            raise OptionError(key, value, f"must be a number of at least {bound}")


class MixtureMethod(Method):
    """Runs the mixture in training and in measuring; how `step` learns it, subclasses say."""

    def __init__(self, weights: Weights, options: MixtureOptions) -> None:
        super().__init__()
        self.weights = weights
        self._options = options
        self._eigenvalue: float | None = None

    def gates(self) -> Gates:
        """The whole mixture; the step on the weights takes it as constant."""
        with torch.no_grad():
            return self.weights.gates(self.weights.leaves())

    def derive(self) -> tuple[Architecture, ...]:
        """The space's most probable architecture."""
        with torch.no_grad():
            table = self.weights.layout.table(self.weights.products(self.weights.leaves()))
        return (self.weights.layout.space.decode(table),)

    def finish_epoch(self, learner: Learner, valid: Valid) -> None:
        """Measure the curvature, where it is asked for."""
        if self._options.hessian:
            leaves = self.weights.leaves()
            loss = learner.loss(valid(), self.weights.gates(leaves))
            self._eigenvalue = dominant_eigenvalue(loss, leaves)

    def diagnostics(self) -> Mapping[str, float]:
        """Entropies in nats, skip connections of what would be derived, curvature."""
        with torch.no_grad():
            p_EK = self.weights.probabilities(self.weights.leaves())
        found = dict(zip(self.weights.layout.rows, entropies(p_EK), strict=True))
        numbers = {"entropy": math.fsum(found.values()) / len(found)}
        if self._options.entropy_per_choice:
            numbers |= {f"entropy/{name}": entropy for name, entropy in found.items()}
        numbers["skip_connections"] = float(skip_connections(self.weights.layout.space, self.derive()[0]))
        if self._eigenvalue is not None:
            numbers["hessian_eigenvalue"] = self._eigenvalue
        return numbers

    def warming_up(self, learner: Learner) -> bool:
        """Whether the architecture does not learn yet."""
        return learner.epochs < self._options.warmup_epochs


def gradients(learner: Learner, batch: Batch, gates_of: GatesOf, leaves: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """dL/dleaf on a batch, the weights as they are; nothing else gets a gradient."""
    loss = learner.loss(batch, gates_of(leaves))
    return torch.autograd.grad(loss, leaves, allow_unused=True, materialize_grads=True)
