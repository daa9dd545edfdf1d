"""`spark-nas report`: the leaderboard and one page that needs nothing else, for runs at any stage."""

from __future__ import annotations

import html
import json
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from html.parser import HTMLParser
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

import pytest

from spark_nas import api, provenance
from spark_nas.commands.runs import Run
from spark_nas.report.leaderboard import incumbent
from tests.commands.answers import Command


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished search of networks on made-up losses. Never to be changed."""
    from spark_nas.cli import main

    folder = tmp_path_factory.mktemp("report")
    (folder / "cells.yaml").write_text("""\
space: nas_bench_201
recipe: {learning_rate: {float: [0.01, 0.3], log: true}}
scheduler: {name: hyperband, max_resource: 9}
evaluator: {name: synthetic, noise: 0.2, divergence: 0.1}
engine: {name: simulated, workers: 3, straggler_std: 0.5}
""")
    arguments = ["search", str(folder / "cells.yaml"), "--output", str(folder / "runs")]
    assert main([*arguments, "--run-id", "part", "--set", "budget.jobs=5"]) == 0
    assert main([*arguments, "--run-id", "whole"]) == 0
    return folder


@pytest.fixture
def run(searched: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(searched / "runs/whole", tmp_path / "runs/whole"))


@pytest.fixture(scope="module")
def reported(searched: Path) -> Path:
    """The finished run with its report. Never to be changed."""
    from spark_nas.cli import main

    run = Path(shutil.copytree(searched / "runs/whole", searched / "reported/whole"))
    assert main(["report", str(run)]) == 0
    return run


class Loads(HTMLParser):
    """What a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "action") or (name == "href" and tag in ("link", "use")):
                self.found.append(value or "")


def page(run: Path) -> str:
    return (run / "report/report.html").read_text(encoding="utf-8")


def test_the_leaderboard_is_printed_and_the_page_is_where_it_says(run: Path, command: Command):
    answer = command("report", run)
    assert (0, "") == (answer.code, answer.err)
    assert answer.out.endswith(f"Report: {run}/report/report.html\n")
    assert [Path("report.html")] == [path.relative_to(run / "report") for path in (run / "report").iterdir()]


def test_the_page_loads_nothing_from_anywhere(reported: Path):
    loads = Loads()
    loads.feed(page(reported))
    assert [] == [source for source in loads.found if not source.startswith(("data:", "#"))]
    assert [] == re.findall(
        r"@import|url\((?!['\"]?(?:data:|#))", re.sub(r"<script.*?</script>", "", page(reported), flags=re.S)
    )


def test_the_page_names_the_winner_and_how_to_make_the_run_again(reported: Path, searched: Path):
    best = incumbent(Run(str(reported)).results())
    assert best is not None
    assert f"trial {best.job.trial.trial_id}" in page(reported).lower()
    for words in (
        f"spark-nas search {searched}/cells.yaml --output {reported.parent} --run-id whole",
        f"spark-nas retrain {reported}",
        f"spark-nas report {reported}",
    ):
        assert words in page(reported)


def printed_commands(run: Path) -> list[str]:
    [block] = re.findall(r"<h3>Commands</h3><pre>(.*?)</pre>", page(run), flags=re.DOTALL)
    return html.unescape(block).splitlines()


def test_the_printed_commands_make_the_same_experiment_again_with_all_that_was_set(tmp_path: Path, command: Command):
    file, runs = tmp_path / "my cells.yaml", tmp_path / "my runs"
    file.write_text("space: mlp\nscheduler: hyperband\nevaluator: synthetic\nengine: simulated\n")
    settings = [
        "scheduler={name: asha, max_resource: 9, trials: 9}",
        "recipe={learning_rate: {float: [1e-3, 3e-1], log: true}, note: {choice: ['it''s $HOME', \"a  b\"]}}",
        "evaluator.noise=0.1",
        "storage.max_attempts=3",
        "name=two words",
    ]
    sets = [word for setting in settings for word in ("--set", setting)]
    assert 0 == command("search", file, "--output", runs, "--run-id", "first", *sets).code
    assert 0 == command("report", runs / "first").code
    searching, retraining, reporting = map(shlex.split, printed_commands(runs / "first"))
    assert ["spark-nas", "search", str(file), "--output", str(runs), "--run-id", "first", *sets] == searching
    assert ["spark-nas", "retrain", str(runs / "first"), "--set", "storage.max_attempts=3"] == retraining
    assert ["spark-nas", "report", str(runs / "first"), "--set", "storage.max_attempts=3"] == reporting

    again = [word if word != str(runs) else str(tmp_path / "again") for word in searching[1:]]
    assert 0 == command(*again).code
    assert 0 == command(*reporting[1:]).code
    first, second = Run(str(runs / "first")), Run(str(tmp_path / "again" / "first"))
    for part in ("identity", "experiment", "settings"):
        assert first.record[part] == second.record[part]
    assert [(r.job, r.loss) for r in first.results()] == [(r.job, r.loss) for r in second.results()]


def test_how_a_process_was_started_is_recorded_as_a_shell_reads_it(monkeypatch: pytest.MonkeyPatch):
    words = ["/opt/bin/spark-nas", "search", "my cells.yaml", "--set", "scheduler={name: asha, eta: 3}"]
    monkeypatch.setattr(sys, "argv", words)
    assert ["spark-nas", *words[1:]] == shlex.split(provenance.command_line())


def test_without_known_settings_the_experiment_is_the_one_to_save(run: Path, command: Command):
    """As in a run that a program began, or one of before there was a record of them."""
    record = json.loads((run / "run.json").read_text())
    assert [] == record.pop("settings")
    (run / "run.json").write_text(json.dumps(record))
    command("report", run)
    assert [
        "# save the experiment below as whole.yaml",
        f"spark-nas search whole.yaml --output {run.parent} --run-id whole",
    ] == printed_commands(run)[:2]


def test_a_run_that_a_program_began_from_a_file_has_no_settings(searched: Path, tmp_path: Path):
    """What the program gave instead of sections of the file stands in the record's experiment alone."""
    begun = api.search(searched / "cells.yaml", output=tmp_path, run_id="program", seed=7)
    assert begun.record["settings"] is None
    assert begun.view.commands[0] == "# save the experiment below as program.yaml"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"{", "Expecting property name"),
        (b"\xff", "codec can't decode"),
        (b"[1]", "[1] is no mapping"),
        (b'{"a": 1}', "it has no trial_id"),
        (b'{"trial_id": 0, "epochs": 9, "seeds": 1}', "it has no test_accuracy"),
        (b'{"trial_id": "0", "epochs": 9, "seeds": 1}', "trial_id is '0'"),
        (b'{"trial_id": 0, "epochs": 9, "seeds": 1, "test_perplexity": NaN}', "test_perplexity is nan"),
    ],
)
def test_a_torn_or_foreign_result_of_retraining_is_one_line(
    run: Path, command: Command, content: bytes, complaint: str
):
    (run / "retrained.json").write_bytes(content)
    answer = command("report", run)
    assert (2, "") == (answer.code, answer.out)
    assert f"{run}/retrained.json is not what retraining leaves: " in answer.complaint
    assert complaint in answer.complaint
    assert "`spark-nas retrain` writes it anew" in answer.complaint


def test_the_leaderboard_has_the_rows_asked_for_best_first(run: Path, command: Command):
    best = incumbent(Run(str(run)).results())
    assert best is not None

    def trials(top: int) -> list[int]:
        rows = re.findall(r"^ +(\d+) +(\d+) +[0-9.]+ +\d+ ", command("report", run, "--top", top).out, re.M)
        assert [str(rank) for rank in range(1, len(rows) + 1)] == [rank for rank, _ in rows]
        return [int(trial) for _, trial in rows]

    three = trials(3)
    assert (len(three), three[0]) == (3, best.job.trial.trial_id)
    assert three == trials(9)[:3]


def test_a_run_cut_short_has_a_report_too(searched: Path, tmp_path: Path, command: Command):
    part = Path(shutil.copytree(searched / "runs/part", tmp_path / "part"))
    assert command("report", part).code == 0
    assert "part" in page(part)


def test_a_run_without_rows_has_a_report_too(run: Path, command: Command):
    shutil.rmtree(run / "results")
    answer = command("report", run)
    assert (0, "") == (answer.code, answer.err)
    assert page(run)


def test_reporting_changes_nothing_but_the_report(run: Path, command: Command):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    command("report", run)
    first = page(run)
    command("report", run)
    assert first == page(run)
    (run / "report/report.html").unlink()
    assert before == {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


@pytest.mark.parametrize("former", [False, True])
def test_the_test_accuracy_is_told_unless_it_is_that_of_a_former_winner(run: Path, command: Command, former: bool):
    best = incumbent(Run(str(run)).results())
    assert best is not None
    summary = {"trial_id": best.job.trial.trial_id + former, "epochs": 9, "seeds": 1, "seconds": 1.0, "test_loss": 0.1}
    (run / "retrained.json").write_text(json.dumps({**summary, "test_accuracy": 0.98765, "test_accuracy_std": 0.0}))
    answer = command("report", run)
    assert answer.code == 0
    assert former is ("The retrained winner: test accuracy 98.77 %" not in answer.out)
    assert former is (re.search(r"98\.7[67]|0\.987", page(run)) is None)


@pytest.mark.parametrize("package", ["plotly", "networkx"])
def test_without_the_extra_the_leaderboard_is_printed_and_the_page_says_what_is_missing(
    run: Path, command: Command, monkeypatch: pytest.MonkeyPatch, package: str
):
    for name in [name for name in sys.modules if name.startswith("spark_nas.report.")]:
        if name.split(".")[2] in ("page", "drawing", "layout", "figures", "style"):
            monkeypatch.delitem(sys.modules, name)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(package), *sys.meta_path])
    answer = command("report", run)
    assert 2 == answer.code
    assert "rank" in answer.out
    assert f"{package} is not installed; pip install 'spark_nas[report]'" in answer.complaint


class Missing(MetaPathFinder):
    """Python without one package."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name.split(".", maxsplit=1)[0] == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
