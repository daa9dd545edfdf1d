"""GAEA on GDAS (Li, Khodak, Balcan and Talwalkar, ICLR 2021, appendix B): one path a step, drawn from the simplex.

The sampler and its straight-through gradient are those of GDAS, the probabilities points of the simplex that learn by
exponentiated gradient. The released schedule of the temperature begins after the warm-up, too, but divides by all
epochs and so never arrives at its end; ours does.
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_nas.evaluation.oneshot.gdas import GdasMethod, SamplerOptions
from spark_nas.evaluation.oneshot.mixture import Layout
from spark_nas.evaluation.oneshot.simplex import SimplexOptions, SimplexWeights
from spark_nas.spaces.core import SearchSpace


@dataclass(frozen=True)
class GaeaGdas(SimplexOptions, SamplerOptions):
    """Options of GAEA on GDAS; defaults are the paper's on NAS-Bench-201."""

    learning_rate: float = 0.01
    entropic_weight: float = 0.01
    """lambda of the regulariser, lambda * sum theta log(K theta)."""
    normalise_last: bool = False
    """Whether theta sums to 1 exactly after the clamp, or is clamped after it was normalised, as in the release."""
    warmup_epochs: float = 50.0
    """Epochs in which only weights are learnt, along paths drawn uniformly."""

    def build(self, space: SearchSpace) -> GdasMethod:
        """The method. Raises OptionError for a space that decides nothing."""
        return GdasMethod(SimplexWeights(Layout(space, exclude_none=self.exclude_zero), self), self)
