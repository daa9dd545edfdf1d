"""A virtual environment for each rival, made once from its pinned requirements and kept outside version control."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import venv
from pathlib import Path

from benchmarks.orchestration.contestants import requirements

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".benchmarks"
_STAMP = ".installed"
_SECONDS = 1800


class NotInstalled(Exception):
    """The rival cannot be had here; its text says why, in a line."""


@functools.cache
def python_of(environment: str | None) -> Path:
    """The interpreter of an environment, made first where there is none, or one of other versions.

    None is the environment that this runs in. Raises NotInstalled.
    """
    if environment is None:
        return Path(sys.executable)
    place, wanted = CACHE / "venvs" / environment, requirements(environment)
    python, stamp = place / "bin" / "python", place / _STAMP
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted.read_text(encoding="utf-8"):
        return python
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")
    print(f"making {place} from {wanted.name}; this takes minutes, once", file=sys.stderr, flush=True)
    try:
        venv.create(place, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "-r", str(wanted)]
        subprocess.run(pip, check=True, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or "").strip().splitlines() or [str(error)]
        raise NotInstalled(next((line for line in lines if "ERROR" in line), lines[-1])) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(str(error)) from error
    stamp.write_text(wanted.read_text(encoding="utf-8"), encoding="utf-8")
    return python


@functools.cache
def java_home() -> str:
    """A Java for Spark: what `scripts/java` finds or makes. Raises NotInstalled."""
    try:
        found = subprocess.run([str(ROOT / "scripts" / "java")], check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotInstalled(f"no Java: {getattr(error, 'stderr', None) or error}") from error
    return found.stdout.strip()


def variables(python: Path, *, spark: bool) -> dict[str, str]:
    """The environment variables of a contestant's process."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_", "VIRTUAL_ENV"))
    }
    # This repository's package is on the path of rivals too, for the objective; they import nothing else of it.
    kept |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore", "PATH": f"{python.parent}:{os.environ['PATH']}"}
    if spark:
        kept |= {"JAVA_HOME": java_home(), "PYSPARK_PYTHON": str(python), "PYSPARK_DRIVER_PYTHON": str(python)}
    return kept
