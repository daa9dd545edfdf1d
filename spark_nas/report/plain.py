"""Tables as plain lines, for where there is no terminal."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(headings: Sequence[str], cells: Sequence[Sequence[str]], words: Collection[str]) -> str:
    """One line a row, columns aligned: those whose heading is among `words` to the left, numbers to the right.

    >>> print(aligned(["run", "rows"], [["first", "22"], ["b", "7"]], ["run"]), end="")
    run    rows
    first    22
    b         7
    """
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    lines = [
        "  ".join(
            text.ljust(width) if heading in words else text.rjust(width)
            for text, width, heading in zip(row, widths, headings, strict=True)
        ).rstrip()
        for row in (headings, *cells)
    ]
    return "\n".join(lines) + "\n"
