"""The notebooks: no output is kept in them, and each runs from its first cell to its last in a real kernel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
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


@by_name
@pytest.mark.spark
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_notebook_runs(path: Path, tmp_path: Path):
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    where = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "search ended: " in said  # the log, which stays
    shown = "".join(output.get("data", {}).get("text/html", "") for output in outputs)
    assert "<progress " in shown
    assert "<table " in shown
