"""conf/constraints: the wheel installs beside what each platform ships, and brings neither a Spark nor a torch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import zipfile
from email import message_from_bytes
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from spark_nas.platforms.databricks import ENTRY_POINT
from tests.platforms.schemas import CONF, REPOSITORY

FILES = sorted((CONF / "constraints").glob("*.txt"))
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
GENERATIONS = ["emr-7", "emr-spark-8", "dataproc-2.2", "dataproc-2.3", "dataproc-3.0"]
GENERATIONS += ["databricks-15.4", "databricks-16.4", "databricks-17.3", "databricks-18"]


class Constraints(NamedTuple):
    """A constraint file, and what its first line says beside."""

    python: str
    replaces: frozenset[str]
    bounds: dict[str, str]

    @property
    def exact(self) -> dict[str, str]:
        return {name: bound[2:] for name, bound in self.bounds.items() if bound.startswith("==")}


def constraints(file: Path) -> Constraints:
    title, *lines = file.read_text().splitlines()
    found = re.fullmatch(r"# .+ {6}python: (3\.\d\d)(?: {6}replaces: ([\w ]+))?", title)
    assert found is not None
    named = [re.fullmatch(r"([\w-]+)([=<>].+)", line) for line in lines if not line.startswith("#")]
    bounds = {match[1].lower().replace("_", "-"): match[2] for match in named}
    assert len(bounds) == len(named)
    return Constraints(found[1], frozenset((found[2] or "").split()), bounds)


def test_there_is_a_file_for_each_generation_of_a_platform():
    assert sorted(GENERATIONS) == [file.stem for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_says_which_spark_torch_and_arrow_are_there(file: Path):
    found = constraints(file)
    assert {"pyspark", "pyarrow", "pandas", "numpy", "torch"} <= found.bounds.keys()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"  # setuptools writes beside what it builds
    shutil.copytree(REPOSITORY / "spark_nas", source / "spark_nas", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    build = ["wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source)]
    subprocess.run([*PIP, *build], check=True)
    [found] = folder.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_has_the_entry_point_that_platforms_call(wheel: Path):
    with zipfile.ZipFile(wheel) as content:
        [name] = [name for name in content.namelist() if name.endswith("entry_points.txt")]
        lines = content.read(name).decode().splitlines()
    assert f"{ENTRY_POINT} = spark_nas.platforms.entry:main" in lines


def resolved(requirement: str, folder: Path, *more: str) -> dict[str, str]:
    """What pip would install: name -> version. Raises CalledProcessError when nothing fits."""
    dry = ["install", "--dry-run", "--ignore-installed", "--only-binary=:all:", "--target", str(folder / "nowhere")]
    report = folder / "report.json"
    subprocess.run([*PIP, *dry, "--report", str(report), *more, requirement], check=True, capture_output=True)
    items = json.loads(report.read_text())["install"]
    return {item["metadata"]["name"].lower().replace("_", "-"): item["metadata"]["version"] for item in items}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips where pip reaches none."""
    try:
        resolved("six", tmp_path_factory.mktemp("six"), "--retries", "0", "--timeout", "10")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"pip reaches no registry: {error.stderr.decode()[-200:]}")


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_oldest_that_a_platform_may_ship_is_as_new_as_the_wheel_needs(file: Path, wheel: Path):
    needed = needs(wheel)
    oldest = {
        name: found[1]
        for name, bound in constraints(file).bounds.items()
        if (found := re.match(r"[=>]=([\d.]+)", bound)) and name in needed
    }
    assert {"numpy", "pyarrow"} <= oldest.keys()
    assert {} == {name: version for name, version in oldest.items() if not needed[name].contains(version)}


def needs(wheel: Path) -> dict[str, SpecifierSet]:
    """Which versions of what the wheel needs without an extra."""
    with zipfile.ZipFile(wheel) as content:
        [name] = [name for name in content.namelist() if name.endswith("METADATA")]
        lines = message_from_bytes(content.read(name)).get_all("Requires-Dist", [])
    wanted = [found for line in lines if "extra" not in str((found := Requirement(line)).marker)]
    return {found.name.lower(): found.specifier for found in wanted}


DISTINCT = {str(constraints(file)): file for file in FILES}.values()
# The oldest versions, ranges whose newest are too new, and the newest versions; the others lie between them.
TELLING = {"databricks-16.4", "dataproc-2.3", "emr-spark-8"}


@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [pytest.param(f, marks=() if f.stem in TELLING else pytest.mark.exhaustive, id=f.stem) for f in DISTINCT],
)
def test_the_wheel_installs_beside_what_the_platform_ships(file: Path, wheel: Path, registry: None, tmp_path: Path):
    said = constraints(file)
    more = ["--python-version", said.python, "-c", str(file)]
    found = resolved(str(wheel), tmp_path, *more)
    assert {"spark-nas", "numpy", "pyarrow"} <= found.keys()
    assert {name: found[name] for name in said.exact if name in found} == {
        name: version for name, version in said.exact.items() if name in found
    }
    assert not {"pyspark", "py4j", "torch", "pandas", "petastorm"} & found.keys()


@pytest.mark.slow
def test_a_constraint_that_the_wheel_cannot_keep_is_found(wheel: Path, registry: None, tmp_path: Path):
    (tmp_path / "old.txt").write_text("numpy==1.23.5\n")
    with pytest.raises(subprocess.CalledProcessError) as caught:
        resolved(str(wheel), tmp_path, "-c", str(tmp_path / "old.txt"))
    assert b"conflicting dependencies" in caught.value.stderr
