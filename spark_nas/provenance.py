"""Which code and which versions produced a number: what reproducing it needs (Li and Talwalkar, UAI 2019)."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

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
    root = Path(__file__).resolve().parents[1]
    if (root / ".git").exists():
        commit = _git(root, "rev-parse", "HEAD")
        if commit:
            return commit + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")
    try:
        return f"spark_nas {metadata.version('spark_nas')}"
    except metadata.PackageNotFoundError:
        return "unknown"


def command_line() -> str:
    """How this process was started."""
    return " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
