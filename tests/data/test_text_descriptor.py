"""The descriptor of a text survives its JSON, and whatever is wrong with it or its vocabulary is said in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.data.descriptor import Descriptor, ShardFile, Split
from spark_nas.data.folder import open_folder
from spark_nas.data.text_descriptor import (
    VOCABULARY,
    TextDescriptor,
    load_any,
    read_vocabulary,
    vocabulary_digest,
    vocabulary_json,
)
from spark_nas.errors import DataError
from tests.data.test_descriptor import SMALL as EXAMPLES

SMALL = TextDescriptor(
    name="small",
    level="word",
    vocabulary=3,
    vocabulary_sha256=vocabulary_digest(vocabulary_json(("<unk>", "a", "é"))),
    chunk=4,
    tokens={"train": 17},
    unknown={"train": 2},
    splits={"train": Split(5, (ShardFile("train/part-00000.parquet", 5, (3, 2), 9),))},
    split_rule="all of it",
    source="a test",
    fingerprint="sha256:0",
    created_by="a test",
)


def changed(*path: str, to: object) -> str:
    """The JSON of SMALL with one value replaced."""
    document = json.loads(SMALL.to_json())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return json.dumps(document)


@settings(max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.data(), st.text(), st.sampled_from(["word", "character"]))
def test_a_text_descriptor_survives_its_json(chunk: int, rows: int, data: st.DataObject, name: str, level: str) -> None:
    tokens = data.draw(st.integers((rows - 1) * chunk + 1, rows * chunk))
    descriptor = replace(
        SMALL,
        name=name,
        level=level,
        chunk=chunk,
        tokens={"test": tokens},
        unknown={"test": data.draw(st.integers(0, tokens))},
        splits={"test": Split(rows, (ShardFile("test/a.parquet", rows, (rows,), 1),))},
    )
    assert descriptor == TextDescriptor.from_json(descriptor.to_json(), "f")


def test_a_row_is_a_chunk_of_int32_and_says_how_many_tokens_count() -> None:
    assert ((4,), "int32", 16, 5) == (SMALL.row_shape, SMALL.dtype, SMALL.example_bytes, SMALL.labels)


def test_an_unknown_split_of_a_text_names_those_there_are() -> None:
    with pytest.raises(DataError, match=r"split 'dev' is not in data set 'small': it has train$"):
        SMALL.split("dev")


@pytest.mark.parametrize("key", [key for key in json.loads(SMALL.to_json()) if not key.startswith("format")])
def test_a_missing_key_of_a_text_is_named(key: str) -> None:
    document = json.loads(SMALL.to_json())
    del document[key]
    with pytest.raises(DataError, match=rf"^place/descriptor.json: {key} is missing; prepare the data again"):
        TextDescriptor.from_json(json.dumps(document), "place/descriptor.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        (EXAMPLES.to_json(), "not a spark_nas.text descriptor"),
        (changed("format_version", to=2), "format_version 2 is not 1, which this release reads"),
        (changed("level", to="byte"), "level is 'byte', not one of word, character"),
        (changed("vocabulary", to=1), "vocabulary is 1, at least 2 are needed"),
        (changed("chunk", to=0), "chunk is 0, not a positive number of tokens"),
        (changed("tokens", to=[]), r"tokens is \[\], not dict"),
        (changed("tokens", to={"train": "17"}), "tokens.train is '17', not int"),
        (changed("tokens", to={"valid": 17}), "tokens names valid, the splits are train"),
        (changed("unknown", to={}), "unknown names , the splits are train"),
        (changed("tokens", "train", to=16), "tokens.train is 16, but there are 5 chunks"),
        (changed("tokens", "train", to=21), "tokens.train is 21, but there are 5 chunks"),
        (changed("unknown", "train", to=18), "unknown.train is 18 of 17"),
        (changed("unknown", "train", to=-1), "unknown.train is -1 of 17"),
        (changed("splits", "train", "rows", to=6), "splits.train.rows is 6, but the files hold 5"),
    ],
)
def test_an_unusable_text_descriptor_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        TextDescriptor.from_json(text, "f")
    assert str(caught.value).startswith("f: ")
    assert 1 == len(str(caught.value).splitlines())


@pytest.mark.parametrize("descriptor", [SMALL, EXAMPLES])
def test_the_kind_of_a_data_set_is_told_by_its_descriptor(
    tmp_path: Path, descriptor: Descriptor | TextDescriptor
) -> None:
    (tmp_path / "descriptor.json").write_text(descriptor.to_json())
    assert descriptor == load_any(tmp_path)


@pytest.mark.parametrize("text", ["", "[1]", "[" * 100_000, '{"format": "other"}'])
def test_what_is_no_descriptor_at_all_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "descriptor.json").write_text(text)
    with pytest.raises(DataError, match=r"descriptor.json: not "):
        load_any(tmp_path)


def test_a_vocabulary_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / VOCABULARY).write_text(vocabulary_json(("<unk>", "a", "é")))
    assert ("<unk>", "a", "é") == read_vocabulary(open_folder(tmp_path), SMALL)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "missing, so the data set is not complete; prepare the data again"),
        ('["<unk>", "a", "e"]', "not the vocabulary that the descriptor names"),
        ("[", r"not JSON \(.*\); prepare the data again"),
        ('["<unk>", "a"]', "not a list of the 3 tokens of the descriptor"),
        ('{"a": 1, "b": 2, "c": 3}', "not a list of the 3 tokens of the descriptor"),
    ],
)
def test_an_unusable_vocabulary_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    descriptor = SMALL
    if content is not None:
        (tmp_path / VOCABULARY).write_text(content)
        if "not the" not in said:
            descriptor = replace(SMALL, vocabulary_sha256=vocabulary_digest(content))
    with pytest.raises(DataError, match=rf"{VOCABULARY}: {said}"):
        read_vocabulary(open_folder(tmp_path), descriptor)


def test_a_vocabulary_that_cannot_be_read_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / VOCABULARY).mkdir()
    with pytest.raises(DataError, match=rf"{VOCABULARY}: cannot be read \(Is a directory\); prepare the data again"):
        read_vocabulary(open_folder(tmp_path), SMALL)
