"""From a location to the files there, and the options that come with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_nas.assemble import parse_experiment
from spark_nas.errors import ConfigError, OptionError, OutputError
from spark_nas.object_store import StorageOptions
from spark_nas.storage.locations import open_files

EXPERIMENT = {
    "space": {"name": "mlp"},
    "recipe": {"learning_rate": 0.1},
    "scheduler": {"name": "asha", "max_resource": 3, "trials": 3},
    "evaluator": {"name": "synthetic"},
}


@pytest.mark.parametrize(
    ("location", "root"),
    [
        ("/a/b", "/a/b"),
        ("file:///a/b", "/a/b"),
        ("file:/a/b", "/a/b"),
        ("dbfs:/a/b", "/dbfs/a/b"),
        ("/Volumes/main/x", "/Volumes/main/x"),
        ("s3://bucket/a//b/", "s3://bucket/a/b"),
        ("s3a://bucket/a/./b", "s3://bucket/a/b"),
        ("s3://bucket", "s3://bucket"),
        ("gs://bucket/a/", "gs://bucket/a"),
        ("abfss://c@account.dfs.core.windows.net/a", "abfss://c@account.dfs.core.windows.net/a"),
    ],
)
def test_a_location_leads_to_one_root(location: str, root: str):
    assert open_files(location).root == root


def test_a_path_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert open_files("runs/a:b").root == str(tmp_path / "runs/a:b")


@pytest.mark.parametrize("location", ["s3:/bucket/x", "gs:/bucket/x"])
def test_a_slash_that_was_forgotten_makes_no_folder_of_that_name(location: str):
    with pytest.raises(OutputError, match=rf"'{location}': give {location[:2]}://BUCKET/PREFIX"):
        open_files(location)


@pytest.mark.parametrize("location", ["ftp://x/y", "hdfs:///x", "S3://x"])
def test_a_scheme_that_nobody_knows_is_refused_with_those_there_are(location: str):
    with pytest.raises(OutputError, match=r"there is no store .* s3://, s3a://, gs://, abfss://"):
        open_files(location)


def test_the_storage_section_of_an_experiment_becomes_options():
    storage = {"region": "eu-west-1", "endpoint": "http://minio:9000", "kms_key": "k", "max_attempts": 3}
    assert parse_experiment({**EXPERIMENT, "storage": storage}).storage == StorageOptions(**storage)
    assert parse_experiment(EXPERIMENT).storage == StorageOptions()


@pytest.mark.parametrize(
    ("storage", "key"),
    [
        ({"endpoint": "minio:9000"}, "storage.endpoint"),
        ({"multipart_megabytes": 1}, "storage.multipart_megabytes"),
        ({"max_attempts": "many"}, "storage.max_attempts"),
        ({"secret": "x"}, "storage.secret"),
    ],
)
def test_a_wrong_storage_section_is_refused_by_file_and_key(storage: dict[str, object], key: str):
    with pytest.raises(ConfigError) as caught:
        parse_experiment({**EXPERIMENT, "storage": storage}, "x.yaml")
    assert ("x.yaml", key) == (caught.value.file, caught.value.key)


def test_credentials_in_an_endpoint_are_refused_and_not_repeated():
    with pytest.raises(OptionError, match="leave credentials out") as caught:
        StorageOptions(endpoint="https://me:secret@minio:9000")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("version", ["15.0.2", "16.0.0"])
def test_virtual_addressing_is_refused_where_pyarrow_has_no_word_for_it(version: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyarrow.__version__", version)
    options = StorageOptions(endpoint="http://127.0.0.1:9", path_style=False)
    with pytest.raises(OptionError, match=r"path_style: False: pyarrow .* install 16\.1 or newer"):
        options.arrow_filesystem("s3://bucket/runs")


def test_virtual_addressing_is_given_to_a_pyarrow_that_has_it():
    options = StorageOptions(endpoint="http://127.0.0.1:9", path_style=False, region="r1")
    filesystem, path = options.arrow_filesystem("s3://bucket/runs")
    assert ("s3", "bucket/runs") == (filesystem.type_name, path)
