from __future__ import annotations

from pathlib import Path

import pytest

from spark_nas.errors import OptionError
from spark_nas.tracking.mlflow import Mlflow, _beside_database
from tests.tracking.results import tracked


@pytest.mark.parametrize("options", [{"queue": 0}, {"end_seconds": -1.0}])
def test_what_it_cannot_honour_is_refused(options: dict[str, float]):
    with pytest.raises(OptionError, match="give at least"):
        Mlflow(**options)


def test_a_password_is_refused_and_not_repeated():
    with pytest.raises(OptionError, match="keep secrets out") as caught:
        Mlflow(uri="https://me:secret@host/mlflow")
    assert "secret@" not in str(caught.value)
    assert "https://***@host/mlflow" in str(caught.value)


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("spark_nas.tracking.mlflow.find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r"spark_nas\[mlflow\]"):
        Mlflow().build(tracked())


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("sqlite:////data/x.db", "file:///data/x-artifacts"),
        ("sqlite+pysqlite:////data/x", "file:///data/x-artifacts"),
        ("sqlite:///x.db", "file://{here}/x-artifacts"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("postgresql://host/mlflow", None),
        ("https://host/mlflow", None),
        ("databricks", None),
    ],
)
def test_only_the_artefacts_of_an_sqlite_file_are_given_a_place(uri: str, place: str | None, tmp_path: Path):
    assert (place and place.format(here=tmp_path)) == _beside_database(uri)
