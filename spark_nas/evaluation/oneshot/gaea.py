"""GAEA: geometry-aware exponentiated gradient (Li, Khodak, Balcan and Talwalkar, ICLR 2021, section 3).

The mixture of DARTS, or of PC-DARTS with `edge_weights`, whose weights are no softmax but points of the simplex that
learn by exponentiated gradient, which finds sparse mixtures soon. Bi-level, the gradient is that of a validation
batch; single level, of the training batch that the weights learn from next.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_nas.evaluation.oneshot.mixture import Layout, MixtureMethod, gradients, require_numbers
from spark_nas.evaluation.oneshot.protocol import Batch, Learner, Valid
from spark_nas.evaluation.oneshot.simplex import SimplexOptions, SimplexWeights
from spark_nas.spaces.core import SearchSpace


@dataclass(frozen=True)
class Gaea(SimplexOptions):
    """Options of GAEA; defaults are the paper's for DARTS and PC-DARTS.

    Its results on NAS-Bench-201 were made with `exclude_zero`.
    """

    bilevel: bool = True
    """Whether the architecture learns on validation data; without, on the training data, as the weights do."""
    edge_weights: bool = False
    """Whether the incoming edges of a node have weights that sum to 1 (GAEA PC-DARTS)."""
    edge_learning_rate: float = 0.1
    """Of the weights of edges."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_numbers(self, edge_learning_rate=0)

    def build(self, space: SearchSpace) -> GaeaMethod:
        """The method. Raises OptionError for a space without choices; with `edge_weights`, without edges of cells."""
        layout = Layout(space, exclude_none=self.exclude_zero)
        rate = self.edge_learning_rate if self.edge_weights else None
        return GaeaMethod(SimplexWeights(layout, self, edge_learning_rate=rate), self)


class GaeaMethod(MixtureMethod):
    """Alternates steps on theta and on the weights."""

    def __init__(self, weights: SimplexWeights, options: Gaea) -> None:
        super().__init__(weights, options)
        self._bilevel = options.bilevel

    def step(self, learner: Learner, train: Batch, valid: Valid) -> None:
        """One step of exponentiated gradient on theta, and on the weights of edges."""
        if self.warming_up(learner):
            return
        weights = self.weights
        batch = valid() if self._bilevel else train
        weights.learn(gradients(learner, batch, weights.gates, weights.leaves()))
