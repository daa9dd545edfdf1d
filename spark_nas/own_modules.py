"""Modules of the user's own, for components that are named `module:Class` and not installed anywhere.

They are found beside the experiment file and in the working folder, as Python finds what lies beside a script; by a
command that reads a run from a store, in the working folder, and only where it trains. Executors have neither folder,
so such modules travel by value with what is pickled of them (`engines.worker.Payload`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

_FOLDERS: list[Path] = []
"""Those in which a module was found, in order."""


def import_own(name: str, folders: Iterable[Path]) -> ModuleType:
    """The module, from Python's path or else from the first folder that has it, which is then on the path, at its end.

    Raises ModuleNotFoundError, with the name of what is missing: the module, or one that it imports.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        top = name.partition(".")[0]
        if error.name != top:
            raise
        for folder in folders:
            if (folder / f"{top}.py").is_file() or (folder / top).is_dir():
                _FOLDERS.append(folder)
                sys.path.append(str(folder))
                importlib.invalidate_caches()
                return importlib.import_module(name)
        raise


def travelling() -> list[ModuleType]:
    """What was imported from such folders so far: the modules found there, and what they import of their neighbours."""
    return [module for module in list(sys.modules.values()) if any(_lies_in(module, folder) for folder in _FOLDERS)]


def _lies_in(module: ModuleType, folder: Path) -> bool:
    """Whether it is found from the folder by its name; not all that lies below, as an environment may, too."""
    top, file = module.__name__.partition(".")[0], getattr(module, "__file__", None)
    if file is None or top == "spark_nas":  # which a clone has in its own folder
        return False
    return Path(file) == folder / f"{top}.py" or (folder / top) in Path(file).parents
