"""What a process runs jobs with, as their rows say it: versions, the code of this package, and the device."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from spark_nas.engines.gpu import Place
from spark_nas.errors import JobError

_DIGITS = 12
_GIT_SECONDS = 10.0


def environment_of(place: Place) -> dict[str, str]:
    """What a job on this device runs with: `versions` and `device`; of a GPU its name and the version of CUDA."""
    try:
        device = place.device()
    except JobError:  # a required GPU that is not there: the result's error says so
        device = "none"
    environment = {**versions(), "device": device}
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda"):
        with contextlib.suppress(Exception):  # one that a job has just broken may not even say its name
            environment["gpu"] = torch.cuda.get_device_name(device)
        environment["cuda"] = str(torch.version.cuda)
    return environment


@lru_cache(maxsize=1)
def versions() -> Mapping[str, str]:
    """Versions of Python and of what is installed here of torch, Spark, numpy and this package; its code.

    `code` is a digest of this package's sources, which is the same for a checkout, a wheel and a zip of the same code,
    wherever there is no git; `commit` is that of the checkout, where it is one.
    """
    found = {"python": platform.python_version()}
    for name in ("torch", "pyspark", "numpy", "spark_nas"):
        version: str | None
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # a platform's own build is no distribution, nor is a zip
            version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name.removeprefix("py")] = str(version)
    with contextlib.suppress(OSError):  # replaced while it runs: not worth a result
        found["code"] = digest_of(files("spark_nas"))
    if commit := commit_of_checkout():
        found["commit"] = commit
    return found


def digest_of(package: Traversable) -> str:
    """A digest of the Python files in a folder or a zip, by their names and contents."""
    sources = sorted(_sources(package, ""))
    return hashlib.sha256(repr(sources).encode()).hexdigest()[:_DIGITS]


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, str]]:
    """(name, digest of the content) of each Python file at any depth."""
    for entry in folder.iterdir():
        name = f"{path}/{entry.name}"
        if entry.name.endswith(".py"):
            yield name, hashlib.sha256(entry.read_bytes()).hexdigest()
        elif entry.is_dir():
            yield from _sources(entry, name)


def commit_of_checkout() -> str | None:
    """The git commit of the checkout that this package runs from; None where it is none, or git does not answer."""
    return git("rev-parse", "HEAD") or None


def git(*arguments: str) -> str:
    """What git says in this package's checkout; nothing where it is no checkout, and then git is not asked."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
