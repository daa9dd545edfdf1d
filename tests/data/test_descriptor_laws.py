"""Any descriptor survives its JSON, and no text at all does more harm than one clear line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.data.descriptor import DTYPES, Descriptor, ShardFile, Split
from spark_nas.errors import DataError

_names = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)
_finite = st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    files = []
    for _ in range(draw(st.integers(1, 3))):
        groups = tuple(draw(st.lists(st.integers(1, 10**6), min_size=1, max_size=3)))
        name = f"{draw(_names)}/{draw(_names)}.parquet"
        files.append(ShardFile(name, sum(groups), groups, draw(st.integers(0, 2**40))))
    return Split(sum(file.rows for file in files), tuple(files))


@st.composite
def descriptors(draw: st.DrawFn) -> Descriptor:
    shape = tuple(draw(st.lists(st.integers(1, 64), min_size=1, max_size=3)))
    per_channel = st.lists(_finite, min_size=shape[0], max_size=shape[0]).map(tuple)
    return Descriptor(
        name=draw(st.text(max_size=9)),
        input_shape=shape,
        dtype=draw(st.sampled_from(DTYPES)),
        classes=tuple(draw(st.lists(st.text(max_size=9), min_size=2, max_size=4))),
        splits=draw(st.dictionaries(_names, splits(), min_size=1, max_size=3)),
        mean=draw(per_channel),
        std=draw(per_channel),
        split_seed=draw(st.integers()),
        split_rule=draw(st.text(max_size=9)),
        source=draw(st.text(max_size=9)),
        fingerprint=draw(st.text(max_size=9)),
        created_by=draw(st.text(max_size=9)),
    )


def refusal(text: str) -> str | None:
    """What is said against a text, or None."""
    try:
        Descriptor.from_json(text, "f")
    except DataError as error:
        return str(error)
    return None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40)
@given(descriptors(), st.data())
def test_any_value_at_any_key_is_taken_or_refused_in_one_line(descriptor: Descriptor, data: st.DataObject) -> None:
    document = json.loads(descriptor.to_json())
    document[data.draw(st.sampled_from(sorted(document)))] = data.draw(_json)
    text = json.dumps(document)
    said = refusal(text)
    assert said is None or (said.startswith("f: ") and 1 == len(said.splitlines()))


@pytest.mark.parametrize("text", ["", "\0\1garbage", "[" * 100_000, '{"format": ', "1" * 10_000, "[1]", "null"])
def test_garbage_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DataError, match=r"^f: not ") as caught:
        Descriptor.from_json(text, "f")
    assert 1 == len(str(caught.value).splitlines())
