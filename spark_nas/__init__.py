"""Neural architecture search on the Spark cluster one already has.

search space x search method x evaluation method, run as Spark jobs: see `spark_nas.assemble` for what there is.

The functions and classes of `spark_nas.api` can be had from here: `spark_nas.search(...)`, `spark_nas.Asha`. What is
listed in its `__all__` is the stable public surface. It is loaded when first asked for, and so `import spark_nas` is
light; nothing of it loads torch or pyspark before a search needs them.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spark_nas.api import *  # noqa: F403

_BOTH = ("search", "report")


class _Function(ModuleType):
    """A folder of modules that can be called: `spark_nas.search(...)` beside `spark_nas.search.records`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - those of the function in spark_nas.api
        """The function of the same name in `spark_nas.api`; see there."""
        return self.__wrapped__(*arguments, **options)

    @property
    def __wrapped__(self) -> Any:  # noqa: ANN401 - where `inspect.signature` and a notebook's help look
        return getattr(import_module("spark_nas.api"), self.__name__.rpartition(".")[2])


class _Package(ModuleType):
    """This package: the import system sets its folders as attributes, and two of them are functions as well."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _BOTH and isinstance(value, ModuleType):
            value.__class__ = _Function
        super().__setattr__(name, value)


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever the API has by that name
    if name in _BOTH:
        return import_module(f"spark_nas.{name}")
    # Modules that the API itself imports by `from spark_nas import driver` are asked for here first.
    if name == "__all__" or not (name.startswith("_") or find_spec(f"{__name__}.{name}")):
        api = import_module("spark_nas.api")
        if name == "__all__" or name in api.__all__:
            return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__getattr__("__all__")]


sys.modules[__name__].__class__ = _Package
