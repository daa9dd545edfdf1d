"""requirements/platforms: what scripts/try-wheel installs agrees with the constraints that each file names."""

from __future__ import annotations

import re
import runpy
from importlib.metadata import requires
from pathlib import Path

import pytest

from spark_nas.commands.machine import admits
from tests.platforms.schemas import REPOSITORY

FILES = sorted((REPOSITORY / "requirements/platforms").glob("*.txt"))


def requirements(file: Path) -> dict[str, str]:
    """Package -> its bounds."""
    found = [re.match(r"([\w.-]+?)([=<>!]=?[^\s#]+)", line) for line in file.read_text().splitlines()]
    return {match[1].lower(): match[2] for match in found if match is not None}


def test_there_is_an_old_a_middle_and_the_newest_spark():
    sparks = {file.stem: requirements(file)["pyspark"].removeprefix("==") for file in FILES}
    assert {"spark-3.5", "spark-4.0", "spark-newest"} == sparks.keys()
    assert sparks["spark-3.5"].startswith("3.5.")
    assert sparks["spark-4.0"].startswith("4.0.")
    assert requirements(REPOSITORY / "requirements/base.txt")["pyspark"] == f"=={sparks['spark-newest']}"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_package_is_exact_and_within_the_constraints_that_the_first_line_names(file: Path):
    named = re.search(r" {6}constraints: (\S+)$", file.read_text().splitlines()[0])
    assert named is not None
    shipped, limits = requirements(file), requirements(REPOSITORY / named[1])
    # A newer dateutil than the constraints admit would be what pandas brings where nothing says otherwise.
    assert {"pyspark", "numpy", "pyarrow", "pandas"} == shipped.keys() - {"python-dateutil"}
    assert [] == [name for name, bound in shipped.items() if not bound.startswith("==")]
    assert [] == [name for name, bound in shipped.items() if not admits(limits[name], bound.removeprefix("=="))]


def test_what_petastorm_needs_beside_spark_is_listed_once(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("setuptools.setup", lambda **_: None)
    said = runpy.run_path(str(REPOSITORY / "setup.py"))
    named = [re.match(r"[\w-]+", need)[0].lower() for need in requires("petastorm") if "extra ==" not in need]
    assert sorted({*named} - {"pyspark", "pandas", "numpy", "pyarrow"}) == said["EXTRAS"]["petastorm-needs"]
    for name in ("scripts/archive", "conf/dataproc/init.sh", "conf/emr/bootstrap.sh"):
        script = (REPOSITORY / name).read_text()
        assert f"install --no-deps {said['EXTRAS']['petastorm'][0]}\n" in script.replace(" --quiet", "")
        assert re.search(r"[\[,]petastorm-needs\b", script)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_table_in_the_docs_has_the_versions_of_the_file(file: Path):
    text = (REPOSITORY / "docs/platforms.md").read_text()
    [row] = re.findall(rf"^\| `{re.escape(file.stem)}`.*$", text, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    shipped = requirements(file)
    assert [shipped[name].removeprefix("==") for name in ("pyspark", "pyarrow", "numpy", "pandas")] == cells[2:6]
