"""The notebooks: no output is kept in them, and each runs from its first cell to its last in a real kernel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbclient import NotebookClient
from pyspark.java_gateway import launch_gateway

if TYPE_CHECKING:
    from py4j.java_gateway import JavaGateway

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICKSTART = ROOT / "notebooks" / "01_quickstart.ipynb"
OWN = ROOT / "notebooks" / "05_write_your_own.ipynb"
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(notebook: dict[str, Any]) -> list[str]:
    return ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_the_notebooks_are_there():
    assert ["01", "02", "03", "04", "05"] == [path.name[:2] for path in NOTEBOOKS]


@by_name
def test_a_notebook_is_one_and_keeps_no_output(path: Path):
    raw = json.loads(path.read_text(encoding="utf-8"))
    nbformat.validate(raw)
    cells = [cell for cell in raw["cells"] if cell["cell_type"] == "code"]
    assert [([], None)] * len(cells) == [(cell["outputs"], cell["execution_count"]) for cell in cells]
    assert set(raw["metadata"]) == {"kernelspec", "language_info"}
    assert [{}] * len(raw["cells"]) == [cell["metadata"] for cell in raw["cells"]]


@by_name
def test_no_line_break_of_a_text_stands_there_as_letters(path: Path):
    raw = json.loads(path.read_text(encoding="utf-8"))
    texts = ["".join(cell["source"]) for cell in raw["cells"] if cell["cell_type"] == "markdown"]
    assert [] == [text for text in texts if "\\n" in text]


def test_ones_own_space_sampler_and_evaluator_take_less_than_60_lines():
    cells = [source for source in code(json.loads(OWN.read_text(encoding="utf-8"))) if "\nclass " in source]
    lines = [line for source in cells for line in source.splitlines() if line.strip()]
    assert 3 == len(cells)
    assert len([line for line in lines if not line.startswith(("import", "from"))]) < 60


@pytest.fixture(scope="module")
def gateway() -> Iterator[JavaGateway]:
    """A JVM that kernels find, one after another, as they do on a platform: it starts, and warms up, once."""
    gateway = launch_gateway()
    yield gateway
    gateway.shutdown()
    gateway.proc.stdin.close()  # at which it ends
    gateway.proc.wait(60)


@pytest.fixture
def warm(gateway: JavaGateway, digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A kernel that starts now finds the JVM, and the digits where a notebook before it has prepared them."""
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", str(gateway.gateway_parameters.port))
    monkeypatch.setenv("PYSPARK_GATEWAY_SECRET", str(gateway.gateway_parameters.auth_token))
    shutil.copytree(digits, tmp_path / "data/digits")
    yield
    left = gateway.jvm.org.apache.spark.sql.SparkSession.getDefaultSession()
    if left.isDefined():  # by a notebook that came to no end: the next one would find it, and not its own
        left.get().stop()


@by_name
@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_notebook_runs(path: Path, tmp_path: Path, request: pytest.FixtureRequest):
    if path != QUICKSTART:  # which starts a JVM and prepares its data itself, as all do for who has neither
        request.getfixturevalue("warm")
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "search ended: " in said  # the log, which stays
    shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert "<progress " in shown
    assert "<table " in shown
