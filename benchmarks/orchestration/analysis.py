"""From the objective's own log to numbers: how fast, how busy, how much of it twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmarks.orchestration.objective import LOG, Workload

NANO = 1e-9


@dataclass(frozen=True)
class Epoch:
    """One epoch as a process logged it; times in seconds on the machine's monotonic clock."""

    pid: int
    configuration: str
    epoch: int
    start: float
    end: float
    asked: float
    """Seconds it was to sleep: the work, whatever the machine made of it."""
    loss: float


@dataclass(frozen=True)
class Orchestration:
    """What the log of one run says. Efficiencies and use are shares of what the workers could have done."""

    trials: int
    """Configurations that ran to the end of at least one epoch."""
    epochs: int
    repeated: int
    """Epochs of a configuration that had been trained before."""
    unfinished: int
    """Epochs that began and never ended."""
    at_max: int
    """Configurations trained to R."""
    best: float
    """The lowest loss anyone logged."""
    span: float
    """Seconds from the first start to the last end: the steady phase."""
    per_second: float
    """Trials per second of the steady phase."""
    efficiency: float
    """Seconds that were asked for, over workers times the steady phase."""
    efficiency_whole: float
    """The same over the whole call."""
    use: float
    """Seconds that workers were within an epoch, over workers times the steady phase."""
    processes: int
    """Different processes that ran an epoch."""
    first: float
    """Seconds from the start of the contestant's process to the first epoch."""


def read_log(folder: Path) -> tuple[list[Epoch], int]:
    """All epochs of a run in order of their start, and how many began without ending. Raises ValueError on nonsense."""
    found: list[Epoch] = []
    unfinished = 0
    for file in sorted((folder / LOG).glob("*")):
        open_at: dict[tuple[str, int], float] = {}
        for line in file.read_text(encoding="ascii").splitlines():
            kind, configuration, epoch, at, *rest = line.split()
            key = configuration, int(epoch)
            if kind == "S":
                unfinished += key in open_at
                open_at[key] = int(at) * NANO
            elif kind == "E" and key in open_at:
                asked, loss = map(float, rest)
                found.append(Epoch(int(file.name), *key, open_at.pop(key), int(at) * NANO, asked, loss))
            else:
                raise ValueError(f"{file}: an epoch that never began: {line!r}")
        unfinished += len(open_at)
    return sorted(found, key=lambda epoch: epoch.start), unfinished


def analyse(folder: Path, workload: Workload, *, spawned: float, call: float) -> Orchestration | None:
    """The numbers of a run whose process started at `spawned` (monotonic seconds) and whose call took `call` seconds.

    None when not one epoch ended.
    """
    epochs, unfinished = read_log(folder)
    if not epochs:
        return None
    span = max(epoch.end for epoch in epochs) - epochs[0].start
    reached: dict[str, int] = {}
    for epoch in epochs:
        reached[epoch.configuration] = max(epoch.epoch, reached.get(epoch.configuration, 0))
    asked = sum(epoch.asked for epoch in epochs)
    return Orchestration(
        trials=len(reached),
        epochs=len(epochs),
        repeated=len(epochs) - len({(epoch.configuration, epoch.epoch) for epoch in epochs}),
        unfinished=unfinished,
        at_max=sum(epoch >= workload.max_resource for epoch in reached.values()),
        best=min(epoch.loss for epoch in epochs),
        span=span,
        per_second=len(reached) / span,
        efficiency=asked / (workload.workers * span),
        efficiency_whole=asked / (workload.workers * call) if call > 0 else 0.0,
        use=sum(epoch.end - epoch.start for epoch in epochs) / (workload.workers * span),
        processes=len({epoch.pid for epoch in epochs}),
        first=epochs[0].start - spawned,
    )


def count_files(folder: Path) -> dict[str, int]:
    """How many files a contestant left, by the top folder of where it was told to write; `.` for those beside it."""
    counts: dict[str, int] = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            top = file.relative_to(folder).parts
            counts[top[0] if len(top) > 1 else "."] = counts.get(top[0] if len(top) > 1 else ".", 0) + 1
    return counts
