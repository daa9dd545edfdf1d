"""`spark-nas doctor`: what is wrong is named with its remedy, before it costs time."""

from __future__ import annotations

import importlib.metadata
import json
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spark_nas.commands.doctor import CanWrite, _worker, cluster, look_at
from spark_nas.commands.machine import PACKAGES, _java, bounds, examine, judge
from spark_nas.engines.survey import Worker
from spark_nas.storage.files import LocalFiles
from tests.commands.answers import Command

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

MISSING = "ModuleNotFoundError: No module named 'x'"


@pytest.mark.slow
def test_this_machine_is_well_and_a_store_that_is_none_is_what_is_wrong(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
):
    good = command("doctor", tmp_path, "--json")
    found = {finding["what"]: finding for finding in json.loads(good.out)}
    for package in PACKAGES:
        # torch tells its build too: 2.13.0+cpu
        assert found[package]["found"].split("+")[0] == importlib.metadata.version(package).split("+")[0]
    assert [finding for finding in found.values() if finding["verdict"] != "ok"] == []
    assert found[str(tmp_path)]["found"].startswith("can write, read, list, conditional write")
    assert good.code == 0

    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("spark_nas.commands.machine.PACKAGES", {"numpy": ""})  # the others take seconds to import
    bad = command("doctor", tmp_path / "file" / "runs", "s4://bucket", tmp_path)
    assert bad.code == 1
    wrong = [line for line in bad.out.splitlines() if line.startswith("WRONG")]
    assert any(f"{tmp_path}/file/runs" in line and "cannot write" in line for line in wrong)
    assert any("there is no store 's4'" in line for line in wrong)
    assert bad.out.endswith(f"{len(wrong)} wrong: see the remedies\n")


@pytest.mark.parametrize(
    ("package", "version", "trouble", "verdict", "words"),
    [
        ("petastorm", "0.12.1", None, "ok", ""),
        ("petastorm", "0.13.1", None, "wrong", "0.13 loses rows without an error: pip install 'petastorm==0.12.1'"),
        ("petastorm", "0.13.1", "UsageError: petastorm 0.13.1 loses rows", "wrong", "0.13 loses rows"),
        ("petastorm", "0.12.1", "AttributeError: no FileSystem", "wrong", "AttributeError: no FileSystem"),
        ("petastorm", None, "PackageNotFoundError: petastorm", "note", "training on prepared data needs it"),
        ("numpy", "1.25.2", None, "wrong", "pip install 'numpy"),
        ("numpy", "2.4.6", None, "ok", ""),
        ("numpy", None, MISSING, "wrong", "pip install 'numpy"),
        ("pyarrow", "14.0.1", None, "wrong", "pip install 'pyarrow"),
        ("pyarrow", "27.0.0", None, "wrong", "pip install 'pyarrow"),
        ("boto3", None, MISSING, "note", "s3:// needs it"),
        ("boto3", "1.35.68", None, "wrong", "1.35.69"),
        ("torch", None, "OSError: libcudart.so: cannot open", "wrong", "libcudart"),
        ("torch", "2.13.0+cpu", None, "ok", ""),
    ],
)
def test_a_package_is_judged_by_what_the_distribution_needs(
    package: str, version: str | None, trouble: str | None, verdict: str, words: str
):
    finding = judge(package, version, trouble, bounds())
    assert (finding.what, finding.verdict) == (package, verdict)
    assert words in finding.remedy
    assert bool(finding.remedy) == (verdict != "ok")


def test_the_needs_are_known_for_every_package_it_looks_at():
    assert set(PACKAGES) <= set(bounds())


def test_a_package_that_kills_python_is_named_and_the_others_are_still_examined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "fine.py").write_text("__version__ = '1.2'\nprint('hello')\n")
    (tmp_path / "deadly.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    (tmp_path / "broken.py").write_text("__version__ = '3'\nraise OSError('no libfoo.so')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert examine(["fine", "deadly", "broken", "absent", "json"]) == {
        "fine": ("1.2", None),
        "deadly": (None, "importing it ends Python (-11)"),
        "broken": (None, "OSError: no libfoo.so"),
        "absent": (None, "ModuleNotFoundError: No module named 'absent'"),
        "json": ("2.0.9", None),
    }


def test_a_python_that_cannot_be_started_is_said_of_every_package(tmp_path: Path):
    answers = examine(["a", "b"], python=str(tmp_path / "python"))
    assert ["a", "b"] == list(answers)
    assert all("cannot be examined" in str(trouble) for _, trouble in answers.values())


def java(folder: Path, version: str) -> Path:
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    program.chmod(0o755)
    return folder


@pytest.mark.parametrize(("version", "verdict"), [("17.0.15", "ok"), ("21", "ok"), ("1.8.0_392", "wrong")])
def test_java_is_judged_by_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, verdict: str):
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.setenv("JAVA_HOME", str(java(tmp_path / "jdk", version)))
    finding = _java()
    assert finding.verdict == verdict
    assert version in finding.found
    assert ("install Java 17" in finding.remedy) is (verdict == "wrong")


def test_java_that_is_missing_is_wrong_unless_spark_is_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ("not found", "wrong") == (_java().found, _java().verdict)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    assert "wrong" == _java().verdict
    monkeypatch.setenv("SPARK_REMOTE", "sc://somewhere")
    assert "ok" == _java().verdict


class Overwriting(LocalFiles):
    """As some stores do: takes the condition of a conditional write for decoration."""

    def write_new(self, name: str, content: bytes) -> bool:
        self.write(name, content)
        return True


def test_a_store_without_conditional_writes_is_named_with_the_reason(tmp_path: Path):
    (finding,) = look_at("s3://bucket/runs", Overwriting(tmp_path))
    assert (finding.what, finding.found, finding.verdict) == ("s3://bucket/runs", "cannot conditional write", "wrong")
    assert "ignores the condition of a conditional write" in finding.remedy
    assert "use a newer version of it, or another store" in finding.remedy


def worker(**versions: str) -> Worker:
    return Worker("node1", 7, {"python": "3.11.7", **versions}, 2, "0", None)


def test_an_executor_with_other_packages_is_wrong_and_each_difference_named():
    here = {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"}
    (fine,) = _worker(worker(torch="2.13.0", numpy="2.4.6"), here)
    assert (fine.what, fine.found, fine.verdict) == ("node1/7", "Python 3.11.7, 2 cores a task, GPU 0", "ok")
    _, torch, numpy = _worker(worker(torch="2.6.0"), here)
    assert ("torch 2.6.0, here 2.13.0", "wrong") == (torch.found, torch.verdict)
    assert ("numpy is not installed, here 2.4.6", "wrong") == (numpy.found, numpy.verdict)


@pytest.mark.spark
@pytest.mark.one_spark
def test_the_executors_of_the_session_that_is_there_are_looked_at(spark: SparkSession, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    good = list(cluster(None, [LocalFiles(tmp_path)]))
    assert {finding.verdict for finding in good} == {"ok"}
    assert good[0].found == f"{spark.version}, local[2]"
    assert [finding.what.split("/")[0] for finding in good[2:]] == [socket.gethostname()] * 2
    bad = list(cluster(None, [LocalFiles(tmp_path / "file/runs")]))
    wrong = [finding for finding in bad if finding.verdict == "wrong"]
    assert [finding.found for finding in wrong] == ["cannot use a store"] * 2
    assert f"{tmp_path}/file/runs: cannot write" in wrong[0].remedy
    assert spark.range(3).count() == 3  # the session is not ours, and still there


def test_the_question_to_executors_is_answered_with_the_first_failure(tmp_path: Path):
    assert CanWrite([LocalFiles(tmp_path)])() is None
    answer = CanWrite([LocalFiles(tmp_path), Overwriting(tmp_path)])()
    assert answer is not None
    assert answer.startswith(f"{tmp_path}: cannot conditional write: this store ignores")


@pytest.mark.spark
def test_a_cluster_that_cannot_be_had_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from spark_nas.engines import session

    monkeypatch.setattr(session, "existing_session", lambda: None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    (finding,) = cluster("local[1]", [])
    assert (finding.found, finding.verdict) == ("no session", "wrong")
    assert "there is no bin/java in it" in finding.remedy
