"""`make archive`: a packed environment runs where it is unpacked, and brings neither a Spark nor, unasked, a torch."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.platforms.schemas import REPOSITORY

EXPERIMENT = "{space: mlp, scheduler: {name: hyperband, max_resource: 3}, evaluator: synthetic}"
MODULES = "import spark_nas.cli, pyarrow, numpy, diskcache, pandas"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_packed_environment_runs_a_search_where_it_is_unpacked(tmp_path: Path):
    if "SPARK_NAS_TEST_ARCHIVE" not in os.environ:
        pytest.skip("installs and packs 160 MB: set SPARK_NAS_TEST_ARCHIVE")
    packed = tmp_path / "environment.tar.gz"
    settings = {"EXTRAS": "report", "PREFIX": sys.base_prefix, "PYTHON": sys.executable, "OUTPUT": str(packed)}
    subprocess.run([REPOSITORY / "scripts" / "archive"], env=os.environ | settings, check=True)
    with tarfile.open(packed) as content:
        content.extractall(tmp_path / "environment", filter="tar")
    python = tmp_path / "environment" / "bin" / "python"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([python, *arguments], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert 0 == run("-c", MODULES).returncode
    for heavy in ("pyspark", "torch"):
        assert "ModuleNotFoundError" in run("-c", f"import {heavy}").stderr
    assert str(tmp_path) in run("-c", "import spark_nas; print(spark_nas.__file__)").stdout
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    done = run("-m", "spark_nas.cli", "search", "e.yaml", "--output", str(tmp_path / "runs"), "--run-id", "r")
    assert (0, "") == (done.returncode, done.stderr)
