"""What each option costs, as a tensor, for methods that trade accuracy for latency, parameters or operations.

The costs come from a table (`spaces.latency`) in a JSON file or in the experiment itself. The options of a method read
it once, where the experiment is read, and carry it along: workers need no file, and it is part of an experiment's
identity.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from spark_nas.errors import OptionError
from spark_nas.evaluation.oneshot.mixture import Layout
from spark_nas.spaces.latency import LatencyTable

_KEY = "latency"
"""What the table calls itself in its errors."""


def read_table(given: str | Mapping[str, Any] | None, *, key: str) -> LatencyTable | None:
    """The table given, or that in a local file; None for none. Raises OptionError for the option `key` of no table."""
    if given is None:
        return None
    with _blaming(key):
        return LatencyTable.read(given) if isinstance(given, str) else LatencyTable.of_mapping(given)


def costs_of(table: LatencyTable, layout: Layout, *, key: str) -> Tensor:
    """The cost of each option, [E, K] in double precision, 0 at absent columns.

    Raises OptionError for the option `key` where the table has not exactly the choices of the space, or lacks an
    option.
    """
    with _blaming(key):
        table.expected({name: dict.fromkeys(options, 1.0) for name, options in layout.rows.items()})
    rows = [[table.options[name][option] for option in options] for name, options in layout.rows.items()]
    return torch.tensor([row + [0.0] * (layout.columns - len(row)) for row in rows], dtype=torch.float64)


@contextlib.contextmanager
def _blaming(key: str) -> Iterator[None]:
    """Let errors of the table name the option of the method that it came from."""
    try:
        yield
    except OptionError as error:
        raise OptionError(key + error.key.removeprefix(_KEY), error.value, error.remedy) from error
