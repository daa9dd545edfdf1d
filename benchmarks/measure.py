"""What benchmarks share: a process of its own for each case, its CPU time and memory, how quiet the machine is."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

Numbers = Mapping[str, float]
"""What a case counted itself, by name; None of it is a time or a memory of the whole case."""


@dataclass(frozen=True)
class Measured:
    """What a case took, in a process that did nothing else."""

    numbers: Numbers
    cpu: float
    """Seconds of processor time of the case, its imports left out; children that have ended are among them."""
    wall: float
    """Seconds."""
    before: float
    """Memory (the most resident so far, MB) after the imports."""
    peak: float
    """The most resident memory of the process, MB."""

    @property
    def grown(self) -> float:
        """MB that the case added to what the imports take."""
        return self.peak - self.before


def alone(case: Callable[..., Numbers], *arguments: object) -> Measured:
    """Run `case(*arguments)` in a fresh process. Both must be picklable; what the case raises is raised here."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measured, case, arguments).result()


def _measured(case: Callable[..., Numbers], arguments: Sequence[object]) -> Measured:
    before, cpu, wall = peak_megabytes(), _cpu(), time.perf_counter()
    numbers = case(*arguments)
    return Measured(numbers, _cpu() - cpu, time.perf_counter() - wall, before, peak_megabytes())


def peak_megabytes() -> float:
    """The most resident memory this process ever had, in MB.

    Linux counts what its parent had before `exec` into `ru_maxrss`, so there the number is read where it is its own.
    """
    if platform.system() == "Linux":
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if platform.system() == "Darwin" else 2**10)


def _cpu() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def contention(seconds: float = 0.5) -> float:
    """Wall time over processor time of a loop that does nothing but count: 1.0 on a core of one's own."""
    wall, cpu, count = time.perf_counter(), time.process_time(), 0
    while time.process_time() - cpu < seconds:
        count += 1
    return (time.perf_counter() - wall) / (time.process_time() - cpu)


def machine() -> str:
    """One line about where this was measured, and how busy the machine was just now."""
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, load average {load}, "
        f"contention {contention():.2f} (wall / CPU of a spin loop)"
    )


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A markdown table, numbers to three digits; each row as soon as it is known."""
    print("| " + " | ".join(headings) + " |")
    print("|---" * len(headings) + "|", flush=True)
    for row in rows:
        print("| " + " | ".join(map(short, row)) + " |", flush=True)
    print(flush=True)


def short(value: object) -> str:
    """A cell: counts with commas, measurements to three digits."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{int(value):,}" if isinstance(value, int | float) else str(value)
