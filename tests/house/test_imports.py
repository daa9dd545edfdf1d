"""Who may import whom: the arrows of CONTRIBUTING.md, held over every import statement, also those inside functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "spark_nas").rglob("*.py"))

BELOW = (
    "spark_nas.search.records",
    "spark_nas.search.protocols",
    "spark_nas.search.wire",
    "spark_nas.spaces",
    "spark_nas.errors",
    "spark_nas.object_store",
)
"""What the four lower layers share; they never import one another."""
FIRST_PARTY = {
    "spaces": ("spark_nas.spaces", "spark_nas.errors"),
    "search": ("spark_nas.search", "spark_nas.spaces", "spark_nas.errors"),
    "evaluation": ("spark_nas.evaluation", *BELOW),
    "engines": ("spark_nas.engines", "spark_nas.own_modules", *BELOW),
    "storage": ("spark_nas.storage", *BELOW),
    "data": ("spark_nas.data", *BELOW),
    "report": ("spark_nas.report", *BELOW),
    "own_modules.py": (),
    "checking.py": ("spark_nas.errors", "spark_nas.own_modules"),
    "config.py": ("spark_nas.checking", "spark_nas.errors", "spark_nas.object_store"),
    "object_store.py": ("spark_nas.errors",),
    "driver.py": ("spark_nas.config", *BELOW),
}
"""What each part may import of spark_nas. The composition root and what stands on it see all."""
OWNERS = {
    "pyspark": ("engines",),
    "petastorm": ("data/reader.py", "data/petastorm_compat.py"),
    "torch": ("evaluation",),
    "boto3": ("object_store.py", "storage", "data"),
    "pyarrow": ("object_store.py", "storage", "data", "engines"),
    "ConfigSpace": ("spaces/config_space.py",),
    "mlflow": ("tracking/mlflow.py",),
    "plotly": ("report",),
    "networkx": ("report",),
    "sklearn": ("data",),
    "tensorboard": ("tracking/tensorboard.py",),
    "PIL": ("data",),
}
"""Where each library lives; elsewhere it may be named in annotations only."""
PURE = {"spaces": {"ConfigSpace"}, "search": {"numpy"}}
"""The parts that run anywhere, and all that they may import beyond the standard library and spark_nas."""


class Import(NamedTuple):
    """One import of one module, `from a import b` counting as `a.b`."""

    file: str
    """Relative to spark_nas/."""
    line: int
    module: str
    typing_only: bool
    """Under `if TYPE_CHECKING:`."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(file: Path) -> Iterator[Import]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    typing_only = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test).endswith("TYPE_CHECKING")
        for statement in block.body
        for node in ast.walk(statement)
    }
    name = file.relative_to(ROOT / "spark_nas").as_posix()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}:{node.lineno}: relative imports hide who imports whom"
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            yield Import(name, node.lineno, module, node in typing_only)


IMPORTS = [found for file in FILES for found in imports_of(file)]


def inside(name: str, places: tuple[str, ...], separator: str) -> bool:
    return any(name == place or name.startswith(place + separator) for place in places)


def test_there_are_imports_to_judge() -> None:
    assert {"spaces", "search", "evaluation", "engines", "storage", "data"} <= {
        found.file.split("/")[0] for found in IMPORTS
    }


@pytest.mark.parametrize("part", FIRST_PARTY)
def test_a_part_imports_only_what_lies_below_it(part: str) -> None:
    wrong = [
        str(found)
        for found in IMPORTS
        if inside(found.file, (part,), "/")
        and found.module.startswith("spark_nas.")  # the bare package: for its version
        and not inside(found.module, FIRST_PARTY[part], ".")
    ]
    assert [] == wrong


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_only_where_it_lives(library: str) -> None:
    wrong = [
        str(found)
        for found in IMPORTS
        if found.module.split(".")[0] == library
        and not found.typing_only
        and not inside(found.file, OWNERS[library], "/")
    ]
    assert [] == wrong


@pytest.mark.parametrize("part", PURE)
def test_spaces_and_search_need_nothing_heavy(part: str) -> None:
    allowed = PURE[part] | {"spark_nas"} | sys.stdlib_module_names
    wrong = [
        str(found)
        for found in IMPORTS
        if inside(found.file, (part,), "/") and found.module.split(".")[0] not in allowed
    ]
    assert [] == wrong


def test_search_reads_no_clock() -> None:
    """It may hold a date, which an engine gave it; it never asks for one."""
    wrong = [
        str(found) for found in IMPORTS if inside(found.file, ("search",), "/") and found.module.split(".")[0] == "time"
    ]
    for file in (ROOT / "spark_nas" / "search").rglob("*.py"):
        wrong += [
            f"{file.relative_to(ROOT)}:{node.lineno} asks for the time"
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.Attribute) and node.attr in {"now", "utcnow", "today"}
        ]
    assert [] == wrong


def test_importing_search_loads_neither_torch_nor_pyspark() -> None:
    modules = [
        ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for file in FILES
        if file.is_relative_to(ROOT / "spark_nas" / "search")
    ]
    heavy = {"torch", "pyspark", "pyarrow", "petastorm"}
    code = f"import sys, {', '.join(modules)}; print(sorted({heavy} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()
