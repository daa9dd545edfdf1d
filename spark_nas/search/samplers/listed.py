"""Proposals given beforehand: retraining the winners, or a design of experiments made elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

from spark_nas.search.records import Proposal, Result


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
