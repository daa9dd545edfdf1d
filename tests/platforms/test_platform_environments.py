"""requirements/platforms: what scripts/try-wheel installs agrees with the constraints that each file names."""

from __future__ import annotations

import re
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
    assert {"pyspark", "numpy", "pyarrow", "pandas"} == shipped.keys()
    assert [] == [name for name, bound in shipped.items() if not bound.startswith("==")]
    assert [] == [name for name, bound in shipped.items() if not admits(limits[name], bound.removeprefix("=="))]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_table_in_the_docs_has_the_versions_of_the_file(file: Path):
    text = (REPOSITORY / "docs/platforms.md").read_text()
    [row] = re.findall(rf"^\| `{re.escape(file.stem)}`.*$", text, re.MULTILINE)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    shipped = requirements(file)
    assert [shipped[name].removeprefix("==") for name in ("pyspark", "pyarrow", "numpy", "pandas")] == cells[2:6]
