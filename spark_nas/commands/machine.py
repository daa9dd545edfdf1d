"""What `doctor` finds on this machine: Python, packages, Java, cores, memory, GPUs - each with a verdict."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from spark_nas.engines.gpu import available_cores

Verdict = Literal["ok", "note", "wrong"]

PACKAGES: Mapping[str, str] = {
    "numpy": "",
    "pyarrow": "",
    "pyspark": "searching on Spark needs it",
    "torch": "training needs it",
    "petastorm": "training on prepared data needs it",
    "pandas": "Spark needs it to run Python",
    "boto3": "s3:// needs it",
}
"""What spark_nas stands on, and what it is for where it can be done without."""

_EXAMINE = """\
import importlib, json, sys
for name in sys.argv[1:]:
    print(json.dumps([name, None]), flush=True)
    try:
        if name == "petastorm":
            from importlib.metadata import version
            from spark_nas.data.petastorm_compat import install
            found = version(name)
            install()
        else:
            found = importlib.import_module(name).__version__
        if name == "torch":
            import torch
            gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
            print(json.dumps(["cuda", [f"CUDA {torch.version.cuda}, {gpus} GPUs" if gpus else "no GPU", None]]))
        answer = [found, None]
    except BaseException as error:
        answer = [locals().get("found"), f"{type(error).__name__}: {error}"]
    found = None
    print(json.dumps([name, answer]), flush=True)
"""
_LONGEST_IMPORT = 300.0
_GIGABYTE = 1e9


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    verdict: Verdict = "ok"
    remedy: str = ""


def machine() -> Iterator[Finding]:
    """All that can be told of this machine without starting anything of ours."""
    yield _python()
    examined = examine(list(PACKAGES))
    for package in PACKAGES:
        yield judge(package, *examined.get(package, (None, None)), bounds())
    yield _java()
    yield Finding("cores", str(available_cores()))
    yield Finding("memory", _memory())
    if "cuda" in examined:
        yield Finding("torch's GPUs", str(examined["cuda"][0]))


def examine(packages: Sequence[str], python: str = sys.executable) -> dict[str, tuple[str | None, str | None]]:
    """Import packages in another process, where a crash does no harm: name -> (version, what went wrong)."""
    answers: dict[str, tuple[str | None, str | None]] = {}
    left = list(packages)
    while left:
        command = [python, "-c", _EXAMINE, *left]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_IMPORT, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return answers | dict.fromkeys(left, (None, f"cannot be examined: {error}"))
        for line in done.stdout.splitlines():
            if line.startswith("["):  # packages may print what they like
                name, answer = json.loads(line)
                answers[name] = tuple(answer) if answer else (None, f"importing it ends Python ({done.returncode})")
        rest = [name for name in left if name not in answers]
        if rest == left:
            return answers | dict.fromkeys(left, (None, f"cannot be examined: {done.stderr[-200:]}"))
        left = rest
    return answers


def bounds() -> dict[str, str]:
    """Package -> the versions that spark_nas can use (`>=15,<27`), as its distribution says."""
    try:
        needs = importlib.metadata.requires("spark_nas") or []
    except importlib.metadata.PackageNotFoundError:  # run from its source
        return {}
    found = [re.match(r"([\w-]+)\s*\(?([<>=!~][^;)]*)", need) for need in needs]
    return {match[1].lower(): match[2].replace(" ", "") for match in found if match is not None}


def judge(package: str, version: str | None, trouble: str | None, limits: Mapping[str, str]) -> Finding:
    """The verdict on a package: missing, unusable, too old, too new, or good."""
    wanted = limits.get(package, "")
    remedy = f"pip install '{package}{wanted}'"
    if trouble is not None and version is None and trouble.startswith("ModuleNotFoundError"):
        purpose = PACKAGES.get(package, "")
        return Finding(package, "not installed", "note" if purpose else "wrong", f"{purpose or 'needed'}: {remedy}")
    if trouble is not None and version is None and "PackageNotFoundError" in trouble:
        return Finding(package, "not installed", "note", f"{PACKAGES.get(package, '')}: {remedy}")
    if version is not None and wanted and not admits(wanted, version):
        why = "0.13 loses rows without an error: " if package == "petastorm" and version.startswith("0.13") else ""
        return Finding(package, version, "wrong", f"{why}{remedy}")
    if trouble is not None:
        return Finding(package, version or "unusable", "wrong", " ".join(trouble.split()))
    return Finding(package, version or "?")


def admits(wanted: str, version: str) -> bool:
    """Whether a version lies within comma-separated bounds.

    >>> [admits(">=15,<27", version) for version in ("14.0.2", "15.0.2", "26.0.1", "27.0")]
    [False, True, True, False]
    >>> admits("==0.12.1", "0.13.1"), admits(">=2.6", "2.13.0+cpu")
    (False, True)
    """
    have = _numbers(version)
    for bound in wanted.split(","):
        match = re.fullmatch(r"(>=|<=|==|!=|<|>)([\w.+]+)", bound)
        if match is None:
            continue
        limit = _numbers(match[2])
        length = max(len(have), len(limit))
        mine, its = (numbers + (0,) * (length - len(numbers)) for numbers in (have, limit))
        holds = {">=": mine >= its, "<=": mine <= its, "==": mine == its, "!=": mine != its, "<": mine < its}
        if not holds.get(match[1], mine > its):
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match is not None else ()


def _python() -> Finding:
    good = sys.version_info >= (3, 11)
    where = f"{platform.python_version()} ({sys.executable})"
    return Finding("Python", where, "ok" if good else "wrong", "" if good else "use Python 3.11 or newer")


def _java() -> Finding:
    if os.environ.get("SPARK_REMOTE"):
        return Finding("Java", "not needed: SPARK_REMOTE is set")
    remedy = "install Java 17 (OpenJDK), or point JAVA_HOME to where it is; Spark Connect needs none"
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if java is None:
        return Finding("Java", "not found", "wrong", remedy)
    try:
        done = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding("Java", f"{java}: {error}", "wrong", remedy)
    match = re.search(r'version "(\d+)[^"]*"', done.stderr + done.stdout)
    if match is None or int(match[1]) < 17:
        return Finding("Java", f"{match[0] if match else '?'} ({java})", "wrong", remedy)
    return Finding("Java", f"{match[0].split()[1].strip(chr(34))} ({java})")


def _memory() -> str:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return f"{total / _GIGABYTE:.1f} GB"
