from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.data.descriptor import DTYPES, Descriptor, ShardFile, Split, check_files, read_descriptor
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
        name=draw(st.text()),
        input_shape=shape,
        dtype=draw(st.sampled_from(DTYPES)),
        classes=tuple(draw(st.lists(st.text(), min_size=2, max_size=4))),
        splits=draw(st.dictionaries(st.text(), splits(), min_size=1, max_size=3)),
        mean=draw(per_channel),
        std=draw(per_channel),
        split_seed=draw(st.integers()),
        split_rule=draw(st.text()),
        source=draw(st.text()),
        fingerprint=draw(st.text()),
        created_by=draw(st.text()),
    )


SMALL = Descriptor(
    name="small",
    input_shape=(1, 2, 2),
    dtype="uint8",
    classes=("no", "yes"),
    splits={"train": Split(5, (ShardFile("train/part-00000.parquet", 5, (3, 2), 9),))},
    mean=(1.5,),
    std=(1.0,),
    split_seed=1,
    split_rule="all of it",
    source="a test",
    fingerprint="sha256:0",
    created_by="a test",
)


def changed(*path: str | int, to: object) -> str:
    """The JSON of SMALL with one value replaced."""
    document = json.loads(SMALL.to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return json.dumps(document)


@settings(max_examples=40)
@given(descriptors())
def test_a_descriptor_survives_its_json(descriptor: Descriptor) -> None:
    assert descriptor == Descriptor.from_json(descriptor.to_json(), "f")


def test_example_bytes_is_the_size_of_one_example() -> None:
    assert (
        3 * 32 * 32 * 4
        == Descriptor.from_json(
            changed("dtype", to="float32")
            .replace("[1, 2, 2]", "[3, 32, 32]")
            .replace("[1.5]", "[1.5, 1.5, 1.5]")
            .replace("[1.0]", "[1.0, 1.0, 1.0]"),
            "f",
        ).example_bytes
    )


def test_the_row_groups_of_a_split_are_those_of_its_files_in_order() -> None:
    files = (ShardFile("a/b.parquet", 5, (3, 2), 1), ShardFile("a/c.parquet", 4, (4,), 1))
    assert (3, 2, 4) == Split(9, files).row_groups


def test_an_unknown_split_names_those_there_are() -> None:
    with pytest.raises(DataError, match=r"split 'holdout' is not in data set 'small': it has train$"):
        SMALL.split("holdout")


@pytest.mark.parametrize("key", [key for key in json.loads(SMALL.to_json()) if not key.startswith("format")])
def test_a_missing_key_is_named(key: str) -> None:
    document = json.loads(SMALL.to_json())
    del document[key]
    with pytest.raises(DataError, match=rf"^place/descriptor.json: {key} is missing; prepare the data again"):
        Descriptor.from_json(json.dumps(document), "place/descriptor.json")


FILE = ("splits", "train", "files", 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ("\0\1garbage", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ('{"format": ', "not JSON"),
        ("[1]", "not a spark_nas.shards descriptor"),
        (changed("format", to="petastorm"), "not a spark_nas.shards descriptor"),
        (changed("format_version", to=2), "format_version 2 is not 1, which this release reads"),
        (changed("format_version", to=None), "format_version None is not 1"),
        (changed("name", to=3), "name is 3, not str"),
        (changed("split_seed", to=True), "split_seed is True, not int"),
        (changed("input_shape", to=[1, 0]), "input_shape is .* not a list of positive sizes"),
        (changed("input_shape", to=[]), "input_shape is .* not a list of positive sizes"),
        (changed("input_shape", to=[1, "2"]), "input_shape is .* not a list of int"),
        (changed("dtype", to="object"), "dtype is 'object', not one of uint8"),
        (changed("classes", to=["one"]), "classes names 1 class"),
        (changed("mean", to=[float("nan")]), "mean is not one finite number for each of 1 channels"),
        (changed("std", to=[1.0, 1.0]), "std is not one finite number for each of 1 channels"),
        (changed("splits", to=[]), r"splits is \[\], not dict"),
        (changed("splits", "train", to=5), "splits.train is not an object"),
        (changed("splits", "train", "rows", to=6), "splits.train.rows is 6, but the files hold 5"),
        (changed("splits", "train", to={"rows": 0, "files": []}), "splits.train.rows is 0"),
        (changed(*FILE, "rows", to=6), r"files\[0\].row_groups do not add up to rows 6"),
        (changed(*FILE, "row_groups", to=[5, 0]), r"files\[0\].row_groups do not add up"),
        (changed(*FILE, "name", to="../secret.parquet"), r"files\[0\].name is '../secret.parquet'"),
        (changed(*FILE, "name", to="/etc/x.parquet"), r"files\[0\].name is '/etc/x.parquet'"),
        (changed(*FILE, "name", to="train/../../x.parquet"), "not SPLIT/FILE.parquet"),
        (changed(*FILE, "name", to="train/x.pickle"), "not SPLIT/FILE.parquet"),
        (changed(*FILE, "name", to="train/x.parquet\n"), "not SPLIT/FILE.parquet"),
    ],
)
def test_an_unusable_descriptor_is_refused_in_one_line_that_names_the_file(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        Descriptor.from_json(text, "place/descriptor.json")
    assert str(caught.value).startswith("place/descriptor.json: ")
    assert 1 == len(str(caught.value).splitlines())


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such data folder; give the --output of `spark-nas prepare-data`"):
        read_descriptor(tmp_path / "nowhere")


def test_a_folder_without_descriptor_is_no_complete_data_set(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"descriptor.json: missing, so the data set is not complete"):
        read_descriptor(tmp_path)


def test_a_descriptor_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "descriptor.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"descriptor.json: cannot be read"):
        read_descriptor(tmp_path)


def test_shards_of_the_right_size_pass(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "part-00000.parquet").write_bytes(b"123456789")
    check_files(tmp_path, SMALL)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train/part-00000.parquet: shard is missing"):
        check_files(tmp_path, SMALL)


def test_a_shard_of_another_size_is_named(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "part-00000.parquet").write_bytes(b"12345678")
    with pytest.raises(DataError, match=r"train/part-00000.parquet: shard has 8 bytes, the descriptor says 9"):
        check_files(tmp_path, SMALL)


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
