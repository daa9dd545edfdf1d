"""docs/platforms.md and docs/schedules.md: their links lead somewhere, and their commands are ones that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from spark_nas.cli import parser
from spark_nas.commands.submit import PLATFORMS
from tests.platforms.schemas import CONF, REPOSITORY

DOCS = REPOSITORY / "docs"
TEXTS = {name: (DOCS / name).read_text() for name in ("platforms.md", "schedules.md")}
LEFT_OUT = ["--output", "s3://b/runs", "--run-id", "r", "--code", "s3://b/code"]


@pytest.mark.parametrize("name", TEXTS)
def test_the_links_lead_somewhere(name: str):
    links = re.findall(r"\]\(([^)#:]+)[^)]*\)", TEXTS[name])
    assert links
    assert [] == [link for link in links if not (DOCS / link).exists()]


@pytest.mark.parametrize("name", TEXTS)
def test_the_files_of_conf_that_are_named_are_there(name: str):
    named = set(re.findall(r"\bconf/[\w./-]*\w", TEXTS[name]))
    assert named
    assert [] == sorted(path for path in named if not (REPOSITORY / path).exists())


def test_every_submit_command_is_one_and_every_platform_has_one():
    text = re.sub(r"\\\n\s*", "", TEXTS["platforms.md"])
    commands = re.findall(r"^    spark-nas (submit .+?)(?:  +#.*)?$", text, re.MULTILINE)
    seen = set()
    for command in commands:
        given = parser().parse_args([word for word in shlex.split(command) if word != "..."] + LEFT_OUT)
        seen.add(given.platform)
    assert PLATFORMS.keys() == seen


@pytest.mark.parametrize("page", ["README.md", "docs/platforms.md"])
def test_what_the_cluster_of_emr_runs_is_uploaded_before_it_is_asked_for(page: str):
    """The bootstrap action names the folder; the script itself says which constraints it looks for there."""
    text = (REPOSITORY / page).read_text()
    [block] = [
        part for part in re.split(r"\n\n(?! {4})", text) if "aws s3 cp --recursive dist s3://BUCKET/code/" in part
    ]
    before, _, _ = block.partition("spark-nas submit emr")
    uploaded = {Path(file).name for file in re.findall(r"aws s3 cp (\S+) s3://BUCKET/code/(?=\s)", before)}
    named = set(re.findall(r"s3://BUCKET/code/([\w.-]+)", (CONF / "emr/cluster.json").read_text()))
    wanted = set(re.findall(r"--include '([\w.-]+)'", (CONF / "emr/bootstrap.sh").read_text()))
    assert {"bootstrap.sh"} == named
    assert {"emr-7.txt"} == wanted
    assert named | wanted | {"entry.py"} == uploaded
    assert {"`BUCKET`", "`subnet-00000000`"} <= set(re.findall(r"`[\w-]+`", text))


@pytest.mark.parametrize("page", ["README.md", "docs/platforms.md"])
def test_no_cluster_is_sent_to_a_folder_of_this_machine(page: str):
    text = re.sub(r"\\\n\s*", "", (REPOSITORY / page).read_text())
    commands = re.findall(r"^ {4}spark-nas submit .+? \S+\.yaml .+$", text, re.MULTILINE)
    assert commands
    assert [] == [c for c in commands if not re.search(r"--set data\.path=(s3://|gs://|/Volumes/)", c)]


def test_every_folder_of_conf_is_described():
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    described = set(re.findall(r"^\| `([\w-]+)/` \|", TEXTS["platforms.md"], re.MULTILINE))
    assert {"spark", "constraints", *PLATFORMS} <= folders
    assert {"spark", "constraints", *PLATFORMS} == described
