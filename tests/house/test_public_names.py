"""What is public is described, and what a package lists is what it has."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "spark_nas"
FILES = sorted([*PACKAGE.rglob("*.py"), *(ROOT / "jobs").rglob("*.py")])
LISTING = [
    ".".join(file.relative_to(ROOT).parent.parts)
    for file in PACKAGE.rglob("__init__.py")
    if "__all__" in file.read_text(encoding="utf-8")
]
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    """Public classes and functions of a module, and the public methods of its public classes."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def test_every_module_says_what_is_in_it() -> None:
    silent = [
        str(file.relative_to(ROOT))
        for file in FILES
        if (tree := ast.parse(file.read_text(encoding="utf-8"))).body and ast.get_docstring(tree) is None
    ]
    assert [] == silent


def test_every_public_class_and_function_has_a_docstring() -> None:
    silent = []
    seen = 0
    for file in FILES:
        for node in _public(ast.parse(file.read_text(encoding="utf-8")).body):
            seen += 1
            if ast.get_docstring(node) is None:
                silent.append(f"{file.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert seen > 100
    assert [] == silent


def test_every_folder_of_modules_is_a_package() -> None:
    """Otherwise it would be missing from the wheel without a word."""
    folders = {file.parent for file in PACKAGE.rglob("*.py")}
    assert [] == sorted(str(folder.relative_to(ROOT)) for folder in folders if not (folder / "__init__.py").exists())


@pytest.mark.parametrize("package", sorted(LISTING))
def test_the_listed_names_are_there_and_leave_out_nothing_defined(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, Definition) and not node.name.startswith("_")}
    assert len(set(module.__all__)) == len(module.__all__)
    assert [] == [name for name in module.__all__ if not hasattr(module, name)]
    assert set() == defined - set(module.__all__)
