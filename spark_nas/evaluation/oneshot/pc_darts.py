"""PC-DARTS: partial channel connections (Xu et al., ICLR 2020, section 3).

DARTS on a supernet whose edges process a part of their channels only, which saves memory and makes operations without
weights less of an advantage. As what an edge is worth then depends on which channels it got, edges have weights of
their own, normalised over the incoming edges of a node. The partial channels are the network's: the option
`partial_channels` of the space `darts` (the paper: 4).
"""

from __future__ import annotations

from dataclasses import dataclass

from spark_nas.evaluation.oneshot.darts import Darts, DartsMethod
from spark_nas.evaluation.oneshot.mixture import Layout
from spark_nas.evaluation.oneshot.softmax import SoftmaxWeights
from spark_nas.spaces.core import SearchSpace


@dataclass(frozen=True)
class PcDarts(Darts):
    """Options of PC-DARTS; defaults are the paper's on CIFAR-10, of 50 epochs."""

    learning_rate: float = 6e-4
    warmup_epochs: float = 15.0
    """Epochs in which only weights are learnt, so that operations with weights have a chance."""

    def build(self, space: SearchSpace) -> DartsMethod:
        """The method. Raises OptionError for a space whose choices are not edges of cells."""
        return DartsMethod(SoftmaxWeights(Layout(space), self, edge_weights=True), self)
