"""Texts as shards: the vocabulary is the training split's, and what Spark has written is read back token by token."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from spark_nas.data import prepare_text as module
from spark_nas.data.dataset import ShardedData
from spark_nas.data.prepare import prepare
from spark_nas.data.prepare_text import encode, prepare_text, split_streams
from spark_nas.data.sources import Digits, Text
from spark_nas.data.sources.text import RawText
from spark_nas.data.text import TextDataset
from spark_nas.data.text_descriptor import VOCABULARY, load_any
from spark_nas.errors import DataError, OutputError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

KINDS = tuple("abcdefgh")


def raw_text(train: list[int], kinds: tuple[str, ...] = KINDS, **others: list[int]) -> RawText:
    streams = {split: np.array(stream, np.int32) for split, stream in {"train": train, **others}.items()}
    return RawText("raw", "raw.txt", "a test", "word", kinds, streams)


def opened(folder: Path, **options: int) -> TextDataset:
    data = ShardedData(str(folder), **options).build()
    assert isinstance(data, TextDataset)
    return data


def written(path: Path, text: str) -> Text:
    path.write_text(text)
    return Text((str(path),))


# ---- splits -------------------------------------------------------------------------------------------------------


@given(st.integers(3, 200), st.floats(0.01, 0.4), st.floats(0.01, 0.4))
@example(4, 0.375, 0.375)  # which leaves nothing for training
def test_a_text_is_split_into_contiguous_parts_in_order(length: int, valid: float, test: float) -> None:
    raw = raw_text(list(range(length)))
    wanted = {"valid": round(valid * length), "test": round(test * length)}
    if 0 in wanted.values() or sum(wanted.values()) >= length:
        with pytest.raises(DataError, match=r"raw.txt: split '(valid|test)' would get .* choose another fraction"):
            split_streams(raw, valid, test)
        return
    streams, rule = split_streams(raw, valid, test)
    assert ["train", "valid", "test"] == list(streams)
    assert list(range(length)) == np.concatenate(list(streams.values())).tolist()
    assert wanted == {split: len(streams[split]) for split in wanted}
    assert "train: all before; valid: tokens " in rule


def test_a_split_that_the_source_has_is_kept_and_only_a_missing_one_is_cut_off() -> None:
    streams, rule = split_streams(raw_text([0, 1, 2, 3], test=[4, 5]), 0.25, math.nan)
    assert ([0, 1, 2], [3], [4, 5]) == tuple(stream.tolist() for stream in streams.values())
    assert "train: all before; valid: tokens 3 to 4 of the source's train (0.25); test: the source's own" == rule
    streams, rule = split_streams(raw_text([0, 1], valid=[2], test=[3]), 2, -1)
    assert ([0, 1], [2], [3]) == tuple(stream.tolist() for stream in streams.values())
    assert "train: the source's own; valid: the source's own; test: the source's own" == rule


@pytest.mark.parametrize(
    ("valid", "test", "said"),
    [
        (0.0, 0.2, "split 'valid' would get 0 of 10 tokens, of which 8 are left; choose another fraction"),
        (0.1, 1.0, "split 'test' would get 1 of 10 tokens, of which 10 are left"),
        (0.1, -0.5, "split 'test' would get -0.5 of 10 tokens"),
        (math.nan, 0.2, "split 'valid' would get nan of 10 tokens"),
        (math.inf, 0.2, "split 'valid' would get inf of 10 tokens"),
        (0.5, 0.5, "split 'valid' would get 0.5 of 10 tokens, of which 5 are left"),
        (0.01, 0.2, "split 'valid' would get 0.01 of 10 tokens"),
    ],
)
def test_a_fraction_that_leaves_a_split_empty_is_refused(valid: float, test: float, said: str) -> None:
    with pytest.raises(DataError, match=f"^raw.txt: {said}") as caught:
        split_streams(raw_text(list(range(10))), valid, test)
    assert 1 == len(str(caught.value).splitlines())


# ---- the vocabulary -----------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 7), min_size=2, max_size=50).filter(lambda train: len(set(train)) > 1),
    st.lists(st.integers(0, 7), min_size=1),
    st.none() | st.integers(2, 9),
)
def test_the_vocabulary_is_the_most_frequent_of_train_and_unknown_is_number_0(
    train: list[int], valid: list[int], limit: int | None
) -> None:
    raw = raw_text(train, valid=valid)
    vocabulary, streams = encode(raw, raw.splits, limit)
    counts = Counter(KINDS[kind] for kind in train)
    assert "<unk>" == vocabulary[0]
    assert min(len(counts) + 1, limit or math.inf) == len(vocabulary)
    assert sorted(counts.values(), reverse=True)[: len(vocabulary) - 1] == [counts[token] for token in vocabulary[1:]]
    for split, stream in raw.splits.items():
        expected = [KINDS[kind] if KINDS[kind] in vocabulary else "<unk>" for kind in stream]
        assert expected == [vocabulary[number] for number in streams[split]]
    assert np.int32 == streams["valid"].dtype


def test_tokens_that_come_equally_often_are_numbered_in_the_order_they_first_come() -> None:
    raw = raw_text([2, 1, 1, 0, 2, 3])
    assert ("<unk>", "b", "c", "a", "d") == encode(raw, raw.splits, None).vocabulary
    assert ("<unk>", "b") == encode(raw, raw.splits, 2).vocabulary


def test_a_text_that_has_unknown_words_already_keeps_them_apart_from_none() -> None:
    raw = raw_text([1, 1, 0, 2], kinds=("a", "<unk>", "b"), valid=[2, 1, 0])
    vocabulary, streams = encode(raw, raw.splits, 2)
    assert ("<unk>", "a") == vocabulary
    assert ([0, 0, 1, 0], [0, 0, 1]) == (streams["train"].tolist(), streams["valid"].tolist())


# ---- the shards ---------------------------------------------------------------------------------------------------


@pytest.mark.spark
@pytest.mark.parametrize(("shards", "chunk"), [(1, 1024), (3, 16)])
def test_what_spark_has_written_is_the_text_token_by_token(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int, chunk: int
) -> None:
    monkeypatch.setattr(module, "CHUNK", chunk)
    text = "".join(f"line {number} of {number % 7} words\n" for number in range(100))
    descriptor = prepare_text(
        spark, written(tmp_path / "a.txt", text), tmp_path / "d", shards=shards, vocabulary=40, test_fraction=0.3
    )
    assert descriptor == load_any(tmp_path / "d")
    assert {"train": 360, "valid": 60, "test": 180} == descriptor.tokens
    assert {shards} == {len(split.files) for split in descriptor.splits.values()}
    assert min(chunk, 60 // shards) == descriptor.chunk
    data = opened(tmp_path / "d")
    assert (40, ()) == (data.classes, data.input_shape)
    vocabulary = data.vocabulary()
    spelt = [vocabulary[token] for split in ("train", "valid", "test") for token in data.tokens(split)]
    words = text.replace("\n", " <eos> ").split()
    assert [word if word in vocabulary else "<unk>" for word in words] == spelt
    assert spelt.count("<unk>") == sum(descriptor.unknown.values())
    assert {"line", "of", "words", "<eos>"} < set(vocabulary)


@pytest.mark.spark
@pytest.mark.one_spark
def test_the_fingerprint_of_a_text_follows_its_tokens_alone(spark: SparkSession, tmp_path: Path) -> None:
    text = written(tmp_path / "a.txt", "to be or not to be\n" * 30)
    first = prepare_text(spark, text, tmp_path / "d", shards=1)
    assert first.fingerprint == prepare_text(spark, text, tmp_path / "d", shards=3, overwrite=True).fingerprint
    other = Text(text.paths, level="character")
    characters = prepare_text(spark, other, tmp_path / "d", shards=1, overwrite=True, name="hamlet")
    assert characters.fingerprint != first.fingerprint
    assert ("hamlet", "character", 9) == (characters.name, characters.level, characters.vocabulary)
    assert str(tmp_path) not in characters.to_json()
    prepare(spark, Digits(), tmp_path / "d", shards=1, overwrite=True)
    assert not (tmp_path / "d" / VOCABULARY).exists()


@pytest.mark.spark
@pytest.mark.one_spark
def test_penn_treebank_has_its_published_counts(
    spark: SparkSession, shared_data: Callable[[str], Path], tmp_path: Path
) -> None:
    descriptor = prepare_text(spark, Text((str(shared_data("text/ptb.zip")),)), tmp_path / "ptb", vocabulary=10_000)
    assert {"train": 929_589, "valid": 73_760, "test": 82_430} == descriptor.tokens
    assert (10_000, "ptb") == (descriptor.vocabulary, descriptor.name)
    data = opened(tmp_path / "ptb")
    vocabulary = data.vocabulary()
    assert 10_000 == len(set(vocabulary)) == data.classes
    valid = [vocabulary[token] for token in data.tokens("valid")]
    assert "consumers may want to move their telephones a little closer to the tv set <eos>" == " ".join(valid[:15])
    counts = np.bincount(data.tokens("train"), minlength=10_000)
    shares = (counts / counts.sum())[data.tokens("valid")]
    assert 687 == round(math.exp(-np.log(shares).mean()))  # the unigram's perplexity, known for this split


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"vocabulary": 0}, "vocabulary 0: must be at least 2: <unk> and the most frequent token"),
        ({"vocabulary": 1}, "vocabulary 1: must be at least 2"),
        ({"shards": 0}, "shards: 0: must be at least 1"),
        ({"shards": 4}, "a.txt: split 'valid' has 3 tokens for 4 shards; ask for fewer"),
        ({"valid_fraction": 1.5}, "a.txt: split 'valid' would get 1.5 of 30 tokens"),
    ],
)
def test_bad_options_are_refused_in_one_line_before_any_work(
    tmp_path: Path, options: dict[str, int], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        prepare_text(None, written(tmp_path / "a.txt", "a b\n" * 10), tmp_path / "d", **{"shards": 1, **options})
    assert 1 == len(str(caught.value).splitlines())
    assert [] == list((tmp_path / "d").glob("*"))


def test_a_text_of_one_kind_of_token_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.txt: the training text has only one kind of token; give a longer text"):
        prepare_text(None, written(tmp_path / "a.txt", "\n" * 30), tmp_path / "d", shards=1)


def test_a_text_is_not_written_over_what_is_not_ours(tmp_path: Path) -> None:
    text = written(tmp_path / "a.txt", "a b\n" * 10)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "vocabulary.json").write_text("my own")
    with pytest.raises(OutputError, match=r"holds vocabulary\.json, which is no part of a data set"):
        prepare_text(None, text, tmp_path / "d", overwrite=True)
