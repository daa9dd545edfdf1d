"""`spark-nas prepare-data text`: what it says it has written, and its complaints in one line."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import spark_nas
from spark_nas.cli import parser
from spark_nas.commands.prepare_data import write_shards
from spark_nas.data.prepare import prepare
from spark_nas.data.prepare_text import prepare_text
from spark_nas.data.text_descriptor import load_any
from spark_nas.engines.session import Session
from tests.commands.answers import Command

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def test_what_is_left_out_is_the_same_for_command_function_and_library() -> None:
    given = parser().parse_args(["prepare-data", "digits", "--output", "x"])
    for name in ("shards", "valid_fraction", "test_fraction"):
        functions = (write_shards, prepare, prepare_text)
        found = {inspect.signature(function).parameters[name].default for function in functions}
        api = "shards_per_split" if name == "shards" else name
        assert {getattr(given, name), inspect.signature(spark_nas.prepare_data).parameters[api].default} == found


def write(path: Path, content: bytes = b"to be or not to be\n" * 20) -> str:
    path.write_bytes(content)
    return str(path)


@pytest.mark.spark
def test_a_text_is_prepared_once_and_the_command_says_what_it_is(
    spark: SparkSession, tmp_path: Path, command: Command
) -> None:
    place = ["--output", str(tmp_path / "out"), "--if-missing"]
    novel = write(tmp_path / "novel.txt")
    prepared = command("prepare-data", "text", novel, *place, "--vocabulary", "4", "--shards", "2")
    said = [
        f"prepare-data: reading text {novel}",
        "prepare-data: opening a Spark session",
        f"prepare-data: writing 20 rows in 6 shards to {tmp_path}/out",
        f"novel: train 98, valid 14, test 28 words, 4 different, in {tmp_path}/out",
    ]
    assert (0, said) == (prepared.code, prepared.out.splitlines())
    again = command("prepare-data", "text", novel, *place)
    assert (0, f"{tmp_path}/out is there already: novel\n") == (again.code, again.out)
    files = [write(tmp_path / f"{split}.txt") for split in ("train", "valid", "test")]
    other = ["--output", str(tmp_path / "out"), "--overwrite", "--level", "character", "--name", "three"]
    prepared = command("prepare-data", "text", *files, *other)
    said = [
        f"prepare-data: reading text {' '.join(files)}",
        "prepare-data: opening a Spark session",
        f"prepare-data: writing 12 rows in 12 shards to {tmp_path}/out",
        f"three: train 380, valid 380, test 380 characters, 9 different, in {tmp_path}/out",
    ]
    assert (0, said) == (prepared.code, prepared.out.splitlines())
    assert "three" == load_any(tmp_path / "out").name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["text"], "text: no file named; give one text, three with train, valid, test in their names, or a .zip"),
        (["text", "{tmp}/nowhere"], "{tmp}/nowhere: no such file or folder; give the text to prepare"),
        (["text", "{tmp}/a.txt", "{tmp}/a.txt"], "a.txt: of several files each must have train, valid or test in its"),
        (["text", "{tmp}/a.txt", "--vocabulary", "0"], "vocabulary 0: must be at least 2: <unk> and the most frequent"),
        (["text", "{tmp}/a.txt", "--level", "byte"], "argument --level: invalid choice: 'byte' (choose from"),
        (["text", "{tmp}/a.txt", "--image-size", "8"], "image size 8: a text has no images; leave it out"),
        (
            ["text", "{tmp}/a.txt", "--seed", "1"],
            "seed 1: a text is cut in its own order, nothing is drawn; leave it out",
        ),
        (["digits", "{tmp}/a.txt"], "{tmp}/a.txt: one source at a time; only `text` takes several files"),
        (["digits", "--vocabulary", "100"], "vocabulary 100: only `text` has one; leave it out"),
        (["digits", "--level", "word"], "level word: only `text` has one; leave it out"),
    ],
)
def test_what_cannot_be_prepared_is_said_in_one_line_without_spark(
    tmp_path: Path, command: Command, arguments: list[str], said: str
) -> None:
    write(tmp_path / "a.txt")
    words = [word.replace("{tmp}", str(tmp_path)) for word in arguments]
    answer = command("prepare-data", *words, "--output", str(tmp_path / "out"))
    assert (2, "") == (answer.code, answer.out)
    assert said.replace("{tmp}", str(tmp_path)) in answer.complaint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        (b"", [], "a.txt: is empty; give a file that holds text"),
        (b"caf\xe9\n", [], "a.txt: line 1 is not UTF-8 ("),
        (b"to be or not", ["--shards", "0"], "shards: 0: must be at least 1"),
        (b"to be or not " * 9, ["--shards", "5"], "a.txt: split 'valid' has 4 tokens for 5 shards; ask for fewer"),
        (
            b"to be or not",
            ["--valid-fraction", "nan"],
            "a.txt: split 'valid' would get nan of 5 tokens, of which 4 are",
        ),
    ],
)
def test_what_is_wrong_with_a_text_is_said_in_one_line_before_spark_starts(
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(Session, "open", None)  # to open one is a defect, with a traceback
    text = write(tmp_path / "a.txt", content)
    answer = command("prepare-data", "text", text, "--output", str(tmp_path / "out"), *options)
    assert (2, f"prepare-data: reading text {text}\n") == (answer.code, answer.out)
    assert said in answer.complaint
    assert [] == [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
