"""What a notebook shows: a bar that is redrawn in place, and the leaderboard as HTML.

IPython is only used where it is loaded already, so nothing depends on it. Where the cell's output is saved, the last
state of the bar and the lines of the log below it stay. Every text that came with the run is escaped here.
"""

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from spark_nas.report.leaderboard import as_text, leaderboard
from spark_nas.report.view import RunView, duration, total_jobs

_PAUSE = 0.5
"""Seconds between two redrawings: each is a message to the browser."""
_FONT = "font-family: system-ui, sans-serif; font-size: 13px"
_WORDS = ("architecture", "recipe")


def in_notebook() -> bool:
    """Whether this is the kernel of a notebook: Jupyter's, or that of a platform built on it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class NotebookBar:
    """A bar of jobs with lines below it, in the output of the cell that runs."""

    def __init__(self, total: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`total` jobs; None for an endless search; the jobs handed out so far where they are more."""
        self._total, self._clock = total, clock
        self._began, self._drawn = clock(), float("-inf")
        self._body = ""
        self._ipython: Any = import_module("IPython.display")
        self._handle: Any = None

    def show(self, done: int, asked: int, detail: str, lines: Sequence[str]) -> None:
        """New numbers; they are drawn at most twice a second."""
        total, shown = total_jobs(self._total, asked)
        bar = f'<progress value="{done}" max="{max(total, 1)}" style="width: 20em"></progress>'
        passed = duration(self._clock() - self._began)
        words = [f"{done:,}/{shown} jobs, {detail}, {passed}", *lines]
        self._body = f'<div style="{_FONT}">{bar} {"<br>".join(html.escape(line) for line in words)}</div>'
        if self._clock() - self._drawn >= _PAUSE:
            self._draw()

    def stop(self) -> None:
        """Draw the last numbers and leave them standing."""
        self._draw()

    def _draw(self) -> None:
        self._drawn = self._clock()
        content = self._ipython.HTML(self._body)
        if self._handle is None:
            self._handle = self._ipython.display(content, display_id=True)
        else:
            self._handle.update(content)


def leaderboard_html(view: RunView, n: int) -> str:
    """The `n` best trials as a table that needs no style sheet."""
    rows = leaderboard(view.results, n)
    if not rows:
        return "<p>No trial completed.</p>"
    headings, cells = as_text(view, rows)
    styles = ["text-align: left; white-space: normal; max-width: 40em" if h in _WORDS else "" for h in headings]
    head, *lines = (_line(tag, line, styles) for tag, line in [("th", headings), *(("td", line) for line in cells)])
    return f'<table style="{_FONT}"><thead>{head}</thead><tbody>{"".join(lines)}</tbody></table>'


def _line(tag: str, line: Sequence[str], styles: Sequence[str]) -> str:
    cells = (_cell(tag, style, text) for style, text in zip(styles, line, strict=True))
    return f"<tr>{''.join(cells)}</tr>"


def _cell(tag: str, style: str, text: str) -> str:
    return f'<{tag} style="{style or "text-align: right"}">{html.escape(text)}</{tag}>'
