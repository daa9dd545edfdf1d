"""A row says where the process that made it differs from the one that began the run, and else nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from spark_nas.engines.environment import commit_of_checkout, digest_of, versions
from spark_nas.engines.gpu import Place
from spark_nas.engines.task import run_job
from spark_nas.search.records import Result
from spark_nas.storage.files import LocalFiles
from spark_nas.storage.results import ParquetLog, read_table
from tests.engines.probes import Probe, job

REPOSITORY = Path(__file__).resolve().parents[2]
ASK = "import json; from spark_nas.engines.environment import versions; print(json.dumps(dict(versions())))"


def in_table(folder: Path, result: Result) -> list[tuple[str, str]]:
    """What the row of a result says of its environment, in a run that this process began."""
    with ParquetLog(LocalFiles(folder), "run", versions()) as log:
        log.append([result], 1)
    return read_table(LocalFiles(folder))["environment"].to_pylist()[0]  # type: ignore[no-any-return]


def shipped(package: Path, edited: bool) -> dict[str, str]:
    """What a process says that has this package as a zip, as `--py-files` ships it."""
    with zipfile.ZipFile(package, "w") as archive:
        for path in sorted((REPOSITORY / "spark_nas").rglob("*.py")):
            archive.write(path, path.relative_to(REPOSITORY))
        if edited:
            archive.writestr("spark_nas/added.py", '"""Something new."""')
    environment = {**os.environ, "PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-c", ASK], check=True, cwd=package.parent, env=environment, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout))


def test_a_row_of_the_same_code_and_versions_names_the_device_alone(tmp_path: Path):
    assert in_table(tmp_path, run_job(job(1), Probe(), place=Place(1))) == [("device", "cpu")]


def test_code_that_was_shipped_is_told_by_its_content_without_git(tmp_path: Path):
    same, other = shipped(tmp_path / "same.zip", edited=False), shipped(tmp_path / "other.zip", edited=True)
    assert same == {name: value for name, value in versions().items() if name != "commit"}
    assert {**other, "code": same["code"]} == same
    result = run_job(job(1), Probe(), place=Place(1))
    assert in_table(tmp_path, replace(result, environment=same)) == []
    assert in_table(tmp_path / "other", replace(result, environment=other)) == [("code", other["code"])]


def test_numpy_and_this_package_are_named():
    assert (versions()["numpy"], "spark_nas" in versions()) == (np.__version__, True)


@pytest.mark.skipif(not (REPOSITORY / ".git").exists(), reason="no checkout")
def test_a_checkout_is_told_by_its_commit():
    head = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    )
    assert commit_of_checkout() == versions()["commit"] == head.stdout.strip()


def test_a_digest_follows_names_and_contents_of_python_files_alone(tmp_path: Path):
    (tmp_path / "part").mkdir()
    (tmp_path / "a.py").write_text("a")
    empty = digest_of(tmp_path)
    (tmp_path / "part/notes.txt").write_text("whatever")
    assert digest_of(tmp_path) == empty
    (tmp_path / "part/b.py").write_text("b")
    added = digest_of(tmp_path)
    (tmp_path / "part/b.py").rename(tmp_path / "part/c.py")
    assert len({empty, added, digest_of(tmp_path)}) == 3
    assert digest_of(files("spark_nas")) == versions()["code"]
