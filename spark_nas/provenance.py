"""Which code and which versions produced a number: what reproducing it needs (Li and Talwalkar, UAI 2019)."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from importlib import metadata

from spark_nas.engines.environment import commit_of_checkout, git

_PACKAGES = ("spark_nas", "pyspark", "torch", "petastorm", "pyarrow", "numpy", "pandas", "ConfigSpace")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it stands on, as installed here; absent ones left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def code_revision() -> str:
    """The git commit this package runs from, `+changes` when it was edited since; else its version.

    A wheel on a cluster is not in a checkout: there the version is all that is known.
    """
    if commit := commit_of_checkout():
        return commit + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    try:
        return f"spark_nas {metadata.version('spark_nas')}"
    except metadata.PackageNotFoundError:
        return "unknown"


def command_line() -> str:
    """How this process was started, quoted for a shell."""
    return shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
