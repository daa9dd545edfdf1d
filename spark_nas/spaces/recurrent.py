"""What the spaces of recurrent cells share: the network around the cell, its recipe keys, and the form of a cell.

One cell is unrolled over a text; embedding and decoder share their weights (Liu, Simonyan and Yang, ICLR 2019,
section 3.3; Pham et al., ICML 2018, section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from spark_nas.spaces.dimensions import RecipeValue
from spark_nas.spaces.settings import fraction, whole_number


@dataclass(frozen=True, slots=True)
class RecurrentScale:
    """The size of a network of text, and how it is regularised while it trains."""

    hidden: int
    """Units of a state."""
    embedding: int
    """Units of a token's vector."""
    dropout_output: float
    """Of the states that the decoder reads."""
    dropout_hidden: float
    """Of the states that a matrix of the cell reads."""
    dropout_input: float
    """Of the vectors that the cell reads."""
    dropout_between: float
    """Of the vectors between the embedding and the cell: a second mask beside the one above, as in the release."""
    dropout_embedding: float
    """Of whole words: a word is dropped everywhere in a batch or nowhere."""


@dataclass(frozen=True)
class RecurrentOptions:
    """Options of the network around a cell, which a recipe overrides. Defaults are those of the DARTS evaluation.

    All masks but that of words are drawn once a batch and hold for all its time steps (variational dropout: Gal
    and Ghahramani, NIPS 2016).
    """

    recipe_keys: ClassVar[tuple[str, ...]] = (
        "hidden",
        "embedding",
        "dropout_output",
        "dropout_hidden",
        "dropout_input",
        "dropout_between",
        "dropout_embedding",
    )
    """What the network reads from a recipe."""

    hidden: int = 850
    """Units of a state."""
    embedding: int = 0
    """Units of a token's vector; 0 is as many as `hidden`. Where they differ, a matrix leads from state to decoder."""
    dropout_output: float = 0.75
    """Of the states that the decoder reads."""
    dropout_hidden: float = 0.25
    """Of the states that a matrix of the cell reads."""
    dropout_input: float = 0.75
    """Of the vectors that the cell reads."""
    dropout_between: float = 0.2
    """Of the vectors between the embedding and the cell: a second mask, as in the release."""
    dropout_embedding: float = 0.1
    """Of whole words: a word is dropped everywhere in a batch or nowhere."""

    def __post_init__(self) -> None:
        self.scale({})

    def default_recipe(self) -> Mapping[str, object]:
        """Empty: the training's own defaults."""
        return {}

    def scale(self, recipe: Mapping[str, RecipeValue]) -> RecurrentScale:
        """The sizes and rates of a recipe. Raises OptionError for one that is out of range."""
        hidden = whole_number(recipe, "hidden", self.hidden)
        return RecurrentScale(
            hidden=hidden,
            embedding=whole_number(recipe, "embedding", self.embedding, least=0) or hidden,
            dropout_output=fraction(recipe, "dropout_output", self.dropout_output),
            dropout_hidden=fraction(recipe, "dropout_hidden", self.dropout_hidden),
            dropout_input=fraction(recipe, "dropout_input", self.dropout_input),
            dropout_between=fraction(recipe, "dropout_between", self.dropout_between),
            dropout_embedding=fraction(recipe, "dropout_embedding", self.dropout_embedding),
        )

    def check(self, recipe: Mapping[str, RecipeValue]) -> None:
        """Raise OptionError for a recipe of which no network can be built."""
        self.scale(recipe)


def tree_key(parents: Mapping[int, tuple[int, str]], root: int) -> str:
    """A text shared by trees that differ in the numbers of their nodes only (Aho, Hopcroft and Ullman 1974, 3.2).

    A cell in which each node reads one earlier state is a tree; `parents` is node -> (what it reads, label).
    """
    children: dict[int, list[str]] = {node: [] for node in (root, *parents)}
    # From the last node to the first: all that read a node come after it.
    for node in sorted(parents, reverse=True):
        source, label = parents[node]
        children[source].append(f"{label}({','.join(sorted(children[node]))})")
    return ",".join(sorted(children[root]))
