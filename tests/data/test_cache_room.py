"""Which splits have a place in memory is a matter of their sizes and order alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spark_nas.data.cache import is_kept


@given(st.dictionaries(st.text(max_size=2), st.integers(0, 50), max_size=5), st.integers(0, 100))
def test_what_is_kept_fits_together_and_what_is_not_found_no_room(sizes: dict[str, int], room: int) -> None:
    left = room
    for split, size in sizes.items():
        assert (size <= left) == is_kept(split, sizes, room)
        left -= size if is_kept(split, sizes, room) else 0
    assert left >= 0


def test_a_split_without_a_size_is_a_programming_error() -> None:
    with pytest.raises(KeyError):
        is_kept("dev", {"train": 1}, 2)
