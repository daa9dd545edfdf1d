"""The code blocks of a Markdown page, fenced or indented, and of what kind each is.

`<!-- not run: REASON -->` on a line of its own before a block says why nothing can try it.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

import yaml

_CLIENTS = {"aws", "gcloud", "databricks", "duckdb", "mlflow", "tensorboard"}
COMMANDS = {"spark-nas", "spark-nas-job", "spark-submit", "make", "pip", "python", "cd", "export", *_CLIENTS}
"""How a block of shell begins; or by a file of scripts/."""
_REASON = re.compile(r"^<!-- not run: (.+) -->$")


@dataclass(frozen=True)
class Block:
    """A code block and where it stands."""

    page: str
    line: int
    """Of its first line, from 1."""
    language: str
    """python, yaml, shell, json, component (lines of `COMPONENTS`), what a fence names, or text."""
    text: str
    reason: str | None = None
    """Why it is not run, where the page says so."""


def blocks(page: str, markdown: str) -> list[Block]:
    """All code blocks, in their order."""
    lines, found, reason, at = markdown.splitlines(), [], None, 0
    while at < len(lines):
        fence = re.match(r"^(\s*)(```+|~~~+)\s*([\w+-]*)", lines[at])
        start = at
        if fence:
            at = next((i for i in range(at + 1, len(lines)) if lines[i].strip() == fence[2]), len(lines))
            text = textwrap.dedent("\n".join(lines[start + 1 : at])) + "\n"
            found.append(Block(page, start + 2, fence[3] or language(text), text, reason))
            reason = None
        elif lines[at].startswith("    ") and lines[at].strip() and _begins(lines, at):
            while at < len(lines) and (lines[at].startswith("    ") or not lines[at].strip()):
                at += 1
            text = textwrap.dedent("\n".join(lines[start:at])).rstrip() + "\n"
            found += _parts(Block(page, start + 1, language(text), text, reason))
            reason = None
            at -= 1
        elif given := _REASON.match(lines[at].strip()):
            reason = given[1]
        elif lines[at].strip():
            reason = None
        at += 1
    return found


def _parts(block: Block) -> list[Block]:
    """An indented block as it is; or in its paragraphs, where it has several and no one language."""
    paragraphs = re.split(r"\n(?=\n)", block.text)
    if block.language != "text" or block.reason or len(paragraphs) == 1:
        return [block]
    parts, line = [], block.line
    for paragraph in paragraphs:
        text = paragraph.lstrip("\n")
        skipped = len(paragraph) - len(text)
        parts.append(Block(block.page, line + skipped, language(text), text.rstrip() + "\n"))
        line += paragraph.count("\n") + 1
    return parts


def _begins(lines: list[str], at: int) -> bool:
    """An indented line begins a block after an empty one; below an item of a list it goes on with the item."""
    if at and lines[at - 1].strip():
        return False
    before = next((line for line in reversed(lines[:at]) if line.strip() and not line.startswith(" ")), "")
    return not re.match(r"([-*+]|\d+\.)\s", before)


def language(text: str) -> str:
    """What an unmarked block is written in."""
    first = next(iter(text.split()), "")
    if first.removeprefix(".venv/bin/") in COMMANDS or first.startswith("scripts/"):
        return "shell"
    if re.match(r"(import|from|@|def|class) ?", text) or re.match(r"\w+ = \w+\.", text):
        return "python"
    if re.fullmatch(r'("\w+": "[\w.]+:\w+",\n)+', text):
        return "component"
    if text.lstrip().startswith("{") and text.rstrip().endswith("}"):
        return "json"
    try:
        return "yaml" if isinstance(yaml.safe_load(text), dict) else "text"
    except yaml.YAMLError:
        return "text"
