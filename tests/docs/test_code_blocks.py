"""Every code block of the documentation is tried: Python is run, experiments and commands are parsed.

What cannot be tried says why in a comment before it: `<!-- not run: REASON -->`.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from itertools import dropwhile
from pathlib import Path

import pytest
import yaml

from docs.tools.blocks import Block, blocks
from docs.tools.pages import ROOT, pages
from spark_nas import cli, config
from spark_nas.assemble import COMPONENTS, parse_experiment
from spark_nas.checking import component_class
from spark_nas.platforms import entry

ALL = [
    block
    for page in ["README.md", *pages()]
    for block in blocks(page, (ROOT / page).read_text(encoding="utf-8"))
    if block.reason is None
]
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
SUBMITTED = ["--output", "s3://BUCKET/runs", "--run-id", "first", "--code", "s3://BUCKET/code"]


def of(*languages: str) -> list[pytest.param]:
    return [pytest.param(b, id=f"{b.page}:{b.line}") for b in ALL if b.language in languages]


def commands(block: Block) -> Iterator[list[str]]:
    """The commands of a block of shell, in words: lines that go on are one, comments are gone."""
    for line in block.text.replace("\\\n", " ").splitlines():
        for part in re.split(r"\s&&\s", line):
            words = shlex.split(part, comments=True)
            if words:
                yield words


def test_every_block_is_of_a_kind_that_is_tried_or_says_why_not() -> None:
    tried = ("python", "yaml", "shell", "json", "component")
    assert [] == [f"{block.page}:{block.line}" for block in ALL if block.language not in tried]
    assert {"python", "yaml", "shell"} <= {block.language for block in ALL}


@pytest.mark.parametrize("page", sorted({block.page for block in ALL if block.language == "python"}))
def test_python_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One namespace a page, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    for block in ALL:
        if (block.page, block.language) == (page, "python"):
            exec(compile("\n" * (block.line - 1) + block.text, str(ROOT / page), "exec", dont_inherit=True), namespace)
    assert len(namespace) > 2


@pytest.mark.parametrize("block", of("yaml"))
def test_experiments_and_their_sections_are_good_ones(block: Block) -> None:
    raw = yaml.load(block.text, Loader=config._Loader)
    if {"space", "scheduler", "evaluator"} <= raw.keys():
        parse_experiment(raw, block.page)
    else:
        whole = {
            "space": "darts",
            "scheduler": {"name": "full_training", "trials": 1, "max_resource": 1},
            "evaluator": "training",
            **raw,
        }
        assert parse_experiment(whole, block.page).raw.keys() >= raw.keys()


@pytest.mark.parametrize("block", of("component"))
def test_lines_for_components_of_ones_own_name_a_folder_that_has_others(block: Block) -> None:
    folders = {dotted.rpartition(".")[0] for names in COMPONENTS.values() for dotted in names.values()}
    lines = re.findall(r'"\w+": "([\w.]+)\.\w+:\w+",', block.text)
    assert lines
    assert set(lines) <= folders


def test_json_is_json() -> None:
    for block in ALL:
        if block.language == "json":
            assert json.loads(block.text), f"{block.page}:{block.line}"


@pytest.mark.parametrize("block", of("shell"))
def test_commands_are_ones_that_there_are(block: Block) -> None:
    found = [list(dropwhile(lambda word: re.fullmatch(r"[A-Z_]+=.*", word), words)) for words in commands(block)]
    assert found
    for words in found:
        if words[0].removeprefix(".venv/bin/") == "spark-nas":
            check_spark_nas(words[1:])
        elif words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= TARGETS, words
        elif words[0].startswith("scripts/"):
            assert (ROOT / words[0]).is_file(), words
        elif words[0] == "spark-submit":
            at = next(i for i, word in enumerate(words) if word.endswith(".py") and not words[i - 1].startswith("--"))
            assert (ROOT / words[at]).is_file(), words
            check_spark_nas([Path(words[at]).stem, *words[at + 1 :]])
        elif words[0] == "spark-nas-job":
            assert entry._options(words[1:]).command[0] in cli.COMMANDS


def check_spark_nas(words: list[str]) -> None:
    """The command line's own parser takes them; a file of this repository that they name is there."""
    given = [word.strip("[]") for word in words if word != "..."]
    if "..." in words and words[0] == "submit":  # said in the block before: what all platforms need
        given += [word for pair in zip(*[iter(SUBMITTED)] * 2, strict=True) if pair[0] not in given for word in pair]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        try:
            cli.parser().parse_args(given)
        except SystemExit:
            pytest.fail(f"{' '.join(words)}: {errors.getvalue()}")
    assert [] == [word for word in given if word.startswith(("conf/", "jobs/")) and not (ROOT / word).exists()]


def test_a_misspelt_flag_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match="--outptu"):
        check_spark_nas(["search", "conf/asha.yaml", "--output", "runs", "--outptu", "x"])


def test_every_component_has_the_class_that_the_pages_show() -> None:
    assert all(component_class(dotted) for names in COMPONENTS.values() for dotted in names.values())


def test_git_keeps_none_of_the_built_pages() -> None:
    done = subprocess.run(["git", "check-ignore", "-q", "docs/site/index.html"], cwd=ROOT, check=False)
    assert 0 == done.returncode
