"""No machine's paths and no registry's hosts in what is handed on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Put together from halves, lest this file be its own finding.
FOREIGN = re.compile(
    "|".join(
        [
            r"(?<![\w.{}$])/(?:wor" + r"k|hom" + r"e/\w+|roo" + r"t|User" + r"s/\w+)/",
            r"pyp" + r"i\.org",
            r"pythonhoste" + r"d",
            r"npmj" + r"s\.org",
            r"de" + r"b\.debian",
            r"anacond" + r"a\.org",
            # Documents that only whoever wrote this had: a paper's section or a decision's number says it to all.
            r"DESIG" + r"N\.md",
            r"METHOD" + r"S(?:\.md| [A-Z]?\d)",
            r"HEADLINE" + r"S",
            r"\b[Ll]ectur" + r"e",
        ]
    )
)
KEY = re.compile("AKI" + r"A[0-9A-Z]{16}|-----BEGIN [A-Z ]*PRIVATE KE" + "Y-----")


def tracked_files() -> list[Path]:
    """What git tracks, or would track once added."""
    done = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.skip("not a git clone")
    return [path for name in done.stdout.decode().split("\0") if name and (path := ROOT / name).is_file()]


def findings(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{number}: {match.group()}"
            for number, line in enumerate(text.splitlines(), 1)
            if (match := pattern.search(line))
        ]
    return found


def test_the_patterns_find_what_they_are_meant_to_find() -> None:
    assert FOREIGN.search("open('/wor" + "k/main/x')")
    assert FOREIGN.search("https://pyp" + "i.org/simple")
    assert FOREIGN.search("by METHOD" + "S 3.5")
    assert not FOREIGN.search("for name in METHOD" + "S if name")
    assert not FOREIGN.search("a framewor" + "k/part and ./wor" + "k/part and $HOME/wor" + "k/x")


def test_no_tracked_file_names_a_machine_path_or_a_registry() -> None:
    assert [] == findings(FOREIGN)


def test_no_tracked_file_holds_a_key() -> None:
    assert [] == findings(KEY)


def test_no_two_test_files_share_a_name() -> None:
    """A failing `test_build.py` should name one file."""
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert [] == sorted({name for name in names if names.count(name) > 1})
