"""Random search with weight sharing, RSWS: Li and Talwalkar (UAI 2019), section 3.3.

    min over w of E[a ~ U(A)] L(a(w))

Each step on the weights runs one architecture, drawn uniformly: only its operations are computed, get gradients and
move. Nothing is learnt about the architecture; the scheduler's candidates are scored with the weights afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from spark_nas.evaluation.oneshot.protocol import Gates, Method, draw_seed, path, require_choices
from spark_nas.spaces.core import SearchSpace


@dataclass(frozen=True)
class RandomSharing:
    """Options of RSWS: none. Its settings are those of training and of the scheduler `one_shot`."""

    def build(self, space: SearchSpace) -> RandomSharingMethod:
        """The method. Raises OptionError for a space that decides nothing."""
        require_choices(space)
        return RandomSharingMethod(space)


class RandomSharingMethod(Method):
    """A fresh path each step; derives nothing."""

    def __init__(self, space: SearchSpace) -> None:
        super().__init__()
        self._space = space

    def gates(self) -> Gates:
        """The path of an architecture drawn from the space's own distribution."""
        return path(self._space.sample(Random(draw_seed())))
