"""Proposals given beforehand: retraining the winners, or a design of experiments made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from spark_nas.search.records import JobKey, Proposal, Result


@dataclass(frozen=True)
class Listed:
    """Options: the proposals, in order."""

    proposals: tuple[Proposal, ...]

    def build(self, space: object, recipes: object, seed: int) -> ListedSampler:
        """The sampler; the list alone decides."""
        return ListedSampler(self.proposals)


class ListedSampler:
    """Suggests each proposal once, in order."""

    def __init__(self, proposals: Sequence[Proposal]) -> None:
        self._proposals = tuple(proposals)
        self._next = 0

    def suggest(self) -> Proposal | None:
        """The next one, or None at the end."""
        if self._next == len(self._proposals):
            return None
        self._next += 1
        return self._proposals[self._next - 1]

    def observe(self, result: Result) -> None:
        """Nothing to learn."""

    def needed(self) -> set[JobKey]:
        """What the proposals to come start from."""
        return {proposal.start_from for proposal in self._proposals[self._next :] if proposal.start_from is not None}
