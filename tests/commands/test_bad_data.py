"""Damaged data sets and impossible clusters on a real Spark: one line, exit code 2, and the run stays as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from spark_nas.commands.runs import Run
from spark_nas.engines.session import Session
from tests.commands.answers import Answer, Command

if TYPE_CHECKING:
    from pyspark.sql import SparkSession
from tests.commands.bad_world import TRAINING, contents, search


@pytest.fixture
def shards(digits: Path, tmp_path: Path) -> Path:
    """A copy of the digits that may be damaged."""
    return Path(shutil.copytree(digits, tmp_path / "data"))


def describe(shards: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = shards / "descriptor.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def lose_a_shard(shards: Path) -> None:
    (shards / "train/part-00001.parquet").unlink()


def truncate_a_shard(shards: Path) -> None:
    path = shards / "train/part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def empty_a_split(shards: Path) -> None:
    describe(shards, lambda document: document["splits"]["valid"].update(rows=0, files=[]))


def drop_a_split(shards: Path) -> None:
    describe(shards, lambda document: document["splits"].pop("valid"))


def forget_the_classes(shards: Path) -> None:
    describe(shards, lambda document: document.pop("classes"))


def leave_the_folder(shards: Path) -> None:
    describe(shards, lambda document: document["splits"]["valid"]["files"][0].update(name="../../etc/passwd"))


@pytest.mark.spark
@pytest.mark.one_spark
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lose_a_shard, "train/part-00001.parquet: shard is missing; prepare the data again"),
        (truncate_a_shard, "train/part-00001.parquet: shard has "),
        (empty_a_split, "descriptor.json: splits.valid.rows is 0, "),
        (drop_a_split, "split 'valid' is not in data set 'digits': it has train, test"),
        (forget_the_classes, "descriptor.json: classes is missing; prepare the data again"),
        (leave_the_folder, "name is '../../etc/passwd', not SPLIT/FILE.parquet"),
    ],
)
def test_a_damaged_data_set_is_found_before_the_search(
    world: Path, shards: Path, command: Command, damage: Callable[[Path], None], message: str
):
    damage(shards)
    answer = command(*(argument.replace("{tmp}", str(world)) for argument in search(*TRAINING)))
    assert (2, "") == (answer.code, answer.out)
    assert message in answer.complaint
    assert not (world / "runs/new").exists()


@pytest.mark.spark
@pytest.mark.one_spark
def test_a_corrupt_shard_fails_each_job_and_the_search_says_so(world: Path, shards: Path, command: Command):
    path = shards / "train/part-00001.parquet"
    path.write_bytes(b"x" * path.stat().st_size)
    answer = command(*(argument.replace("{tmp}", str(world)) for argument in search(*TRAINING, "budget.failures=3")))
    assert answer.code == 1
    assert "the first 3 jobs all failed, the last one with: DataError" in answer.complaint
    assert "part-00001.parquet" in answer.complaint
    assert ["failed"] * 3 == [result.status for result in Run(str(world / "runs/new")).results()]


@pytest.mark.spark
@pytest.mark.one_spark
def test_more_slots_than_the_cluster_has_are_refused_and_the_run_goes_on_with_fewer(
    world: Path, command: Command, spark: SparkSession
):
    def run(slots: int) -> Answer:
        words = search("engine.name=spark_async", f"engine.slots={slots}")
        return command(*(word.replace("{tmp}", str(world)) for word in words))

    refused = run(64)
    assert refused.code == 2
    assert "slots: 64: the cluster runs 2 tasks at the same time; ask for at most 2" in refused.complaint
    assert [] == Run(str(world / "runs/new")).results()
    assert run(2).code == 0
    assert len(Run(str(world / "runs/new")).results()) == 6


@pytest.mark.spark
@pytest.mark.one_spark
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--output", "{tmp}/foreign"], "{tmp}/foreign: holds thesis.tex, which is no part of a data set"),
        (["digits", "--output", "{tmp}/file"], "{tmp}/file: is a file; give a folder"),
        (["digits", "--output", "{digits}"], "{digits}: holds a data set already; give another folder or --overwrite"),
    ],
)
def test_data_that_cannot_be_prepared_leave_everything_as_it_was(
    world: Path, digits: Path, command: Command, arguments: list[str], message: str
):
    before = contents(world)
    words = [word.replace("{tmp}", str(world)).replace("{digits}", str(digits)) for word in arguments]
    answer = command("prepare-data", *words)
    assert (2, "") == (answer.code, answer.out)
    assert message.replace("{tmp}", str(world)).replace("{digits}", str(digits)) in answer.complaint
    assert before == contents(world)


SEEN_AT_ONCE = {
    "image size 8: only a folder or a .parquet of images is resized; leave it",
    "nowhere: no such file or folder; give digits",
}
"""Before anything is read."""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits", "--shards", "999"], "rows for 999 shards; ask for fewer shards"),
        (["digits", "--shards", "0"], "shards: 0: must be at least 1"),
        (["digits", "--valid-fraction", "0"], "digits: split 'valid' would get 0 of 1797 rows, of which 1438 are left"),
        (["digits", "--valid-fraction", "nan"], "split 'valid' would get nan of 1797 rows"),
        (
            ["digits", "--test-fraction", "inf"],
            "split 'test' would get inf of 1797 rows, of which 1797 are left; choose",
        ),
        (["digits", "--image-size", "8"], "image size 8: only a folder or a .parquet of images is resized; leave it"),
        (["{tmp}/a.npz"], "a.npz: not a readable .npz of plain arrays"),
        (["{tmp}/nowhere"], "nowhere: no such file or folder; give digits"),
    ],
)
def test_what_is_wrong_with_a_source_is_said_in_one_line_before_spark_starts(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
):
    monkeypatch.setattr(Session, "open", None)  # to open one is a defect, with a traceback
    (tmp_path / "a.npz").write_bytes(b"PK garbage")
    words = [word.replace("{tmp}", str(tmp_path)) for word in arguments]
    answer = command("prepare-data", *words, "--output", tmp_path / "out")
    read = "" if message in SEEN_AT_ONCE else f"prepare-data: reading {words[0]}\n"
    assert (2, read) == (answer.code, answer.out)
    assert message in answer.complaint
    assert ["a.npz"] == [path.name for path in tmp_path.rglob("*") if path.is_file()]
