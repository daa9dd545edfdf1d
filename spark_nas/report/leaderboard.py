"""The incumbent and the leaderboard: the best completed results, highest resource first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spark_nas.report.plain import aligned
from spark_nas.report.view import RunView, number
from spark_nas.search.records import Result, Trial, best_first, incumbent

__all__ = [
    "Row",
    "as_text",
    "describe_architecture",
    "describe_recipe",
    "incumbent",
    "leaderboard",
    "print_leaderboard",
]


@dataclass(frozen=True)
class Row:
    """One line of the leaderboard."""

    rank: int
    trial: int
    loss: float
    metrics: Mapping[str, float]
    resource: int
    rung: int
    bracket: int
    seconds: float
    """Spent on the trial in all of its jobs."""
    architecture: str
    recipe: str


def leaderboard(results: Sequence[Result], n: int) -> list[Row]:
    """The `n` best trials, each by its last usable result: highest resource first, then loss, then trial number.

    Losses after different amounts of training are not compared: a trial that went further stands higher. Supernets
    stand last.
    """
    last: dict[int, Result] = {}
    seconds: dict[int, float] = {}
    for result in sorted(results, key=lambda r: r.job.rung):
        trial = result.job.trial.trial_id
        seconds[trial] = seconds.get(trial, 0.0) + result.seconds
        if result.usable:
            last[trial] = result
    return [
        Row(
            rank=rank,
            trial=result.job.trial.trial_id,
            loss=result.loss,
            metrics=result.metrics,
            resource=result.job.resource,
            rung=result.job.rung,
            bracket=result.job.trial.bracket,
            seconds=seconds[result.job.trial.trial_id],
            architecture=describe_architecture(result.job.trial),
            recipe=describe_recipe(result.job.trial),
        )
        for rank, result in enumerate(sorted(last.values(), key=best_first)[:n], start=1)
    ]


def describe_recipe(trial: Trial) -> str:
    """`batch_size=64 learning_rate=0.0123 ...`."""
    return " ".join(f"{name}={_short(value)}" for name, value in trial.recipe.items())


def describe_architecture(trial: Trial) -> str:
    """`choice=option ...`, or `supernet` where all choices are open and there is no recipe."""
    if trial.architecture or trial.recipe:
        return " ".join(f"{name}={option}" for name, option in trial.architecture.items())
    return "supernet"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def print_leaderboard(view: RunView, n: int = 10, stream: IO[str] | None = None) -> None:
    """The leaderboard on a terminal, or as aligned plain text where the stream is none."""
    console = Console(file=stream)
    rows = leaderboard(view.results, n)
    if not rows:
        console.print("no trial completed", markup=False)
        return
    headings, cells = as_text(view, rows)
    if not console.is_terminal:
        console.file.write(aligned(headings, cells, _WORDS))
        return
    table = Table(title=Text(f"leaderboard of {view.run_id}"), title_justify="left", header_style="bold")
    for heading in headings:
        words = heading in _WORDS
        table.add_column(heading, justify="left" if words else "right", overflow="fold", no_wrap=not words)
    for index, row in enumerate(cells):
        table.add_row(*map(Text, row), style="bold green" if index == 0 else "")
    console.print(table)


_WORDS = ("architecture", "recipe")


def as_text(view: RunView, rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Headings, and a line of cells for each row."""
    metric = view.metric
    headings = ["rank", "trial", "loss", *([metric] if metric else []), view.unit, "bracket", "rung", "seconds"]
    headings += [words for words in _WORDS if any(getattr(row, words) for row in rows)]
    cells = []
    for row in rows:
        cell = [str(row.rank), str(row.trial), f"{row.loss:.5g}"]
        cell += [f"{row.metrics[metric]:.4f}"] if metric else []
        cell += [number(row.resource), str(row.bracket), str(row.rung), f"{row.seconds:.1f}"]
        cells.append(cell + [getattr(row, words) for words in _WORDS if words in headings])
    return headings, cells
