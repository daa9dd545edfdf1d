"""What `import spark_nas` gives: the names of `spark_nas.api.__all__`, and nothing heavy before it is needed."""

from __future__ import annotations

import inspect
import subprocess
import sys
from types import ModuleType

import pytest

import spark_nas
import spark_nas.search.records
from spark_nas import api
from spark_nas.assemble import COMPONENTS
from spark_nas.checking import component_class


def loaded(code: str, *names: str) -> str:
    """Which of these modules a new process has loaded after this code."""
    code += f"\nimport sys\nprint(sorted({set(names)} & sys.modules.keys()))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_public_names_are_those_of_the_api():
    assert api.__all__ == spark_nas.__all__ == sorted(api.__all__)
    assert set(api.__all__) <= set(dir(spark_nas))
    others = [name for name in api.__all__ if name not in ("search", "report")]
    assert all(getattr(spark_nas, name) is getattr(api, name) for name in others)
    with pytest.raises(AttributeError, match="module 'spark_nas' has no attribute 'serach'"):
        _ = spark_nas.serach


@pytest.mark.parametrize("section", [section for section in COMPONENTS if section != "method"])
def test_every_component_is_public(section: str):
    """Methods go by their names: two of them are called like spaces, and all need torch."""
    classes = [component_class(dotted) for dotted in COMPONENTS[section].values()]
    assert [] == [cls for cls in classes if getattr(spark_nas, cls.__name__, None) is not cls]


def test_importing_the_package_loads_next_to_nothing():
    assert "[]" == loaded("import spark_nas", "torch", "pyspark", "numpy", "pyarrow", "rich", "spark_nas.api")


def test_the_public_names_load_neither_torch_nor_pyspark_nor_pandas():
    code = "import spark_nas\nfrom spark_nas import *\nfrom spark_nas import search, Asha"
    assert "[]" == loaded(code, "torch", "pyspark", "pandas", "plotly", "IPython")


@pytest.mark.parametrize("name", ["search", "report"])
def test_a_folder_of_modules_is_a_function_too(name: str):
    """Whichever was there first."""
    package = getattr(spark_nas, name)
    assert isinstance(package, ModuleType)
    assert package is spark_nas.__getattr__(name)
    assert inspect.signature(getattr(api, name)) == inspect.signature(package)
    first = f"import spark_nas\nassert callable(spark_nas.{name})\nimport spark_nas.{name}"
    then = f"import spark_nas.{name}\nfrom spark_nas import {name}\nassert callable({name})"
    for code in (first, then):
        assert f"['spark_nas.{name}']" == loaded(code, f"spark_nas.{name}")
    assert spark_nas.search.records is sys.modules["spark_nas.search.records"]
    with pytest.raises(TypeError, match="no_such"):
        package(no_such=1)
