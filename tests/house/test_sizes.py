"""One idea a file: files of at most 300 lines, functions of at most 40."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*(ROOT / "spark_nas").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")])
JOB_LINES = 40


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert lengths
    assert {} == {name: length for name, length in lengths.items() if length > 300}


def test_no_function_is_longer_than_40_lines() -> None:
    lengths = {
        f"{file.relative_to(ROOT)}:{node.lineno} {node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert lengths
    assert {} == {name: length for name, length in lengths.items() if length > 40}


def test_a_job_script_only_parses_assembles_and_runs() -> None:
    lengths = {
        file.name: len(file.read_text(encoding="utf-8").splitlines()) for file in FILES if file.parent.name == "jobs"
    }
    assert {} == {name: length for name, length in lengths.items() if length > JOB_LINES}
