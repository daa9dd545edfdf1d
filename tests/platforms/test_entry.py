"""`spark-nas-job`: what a platform starts tells a scheduler how it ended, also where the platform does not."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from spark_nas.commands.runs import Run
from spark_nas.errors import OutputError
from spark_nas.object_store import StorageOptions
from spark_nas.platforms.entry import main, verdict
from spark_nas.platforms.submission import Submission, inline
from spark_nas.storage.files import Files
from spark_nas.storage.lease import Lease
from spark_nas.storage.locations import open_files
from tests.s3_endpoint import S3

EXPERIMENT = {
    "name": "night",
    "space": "mlp",
    "scheduler": {"name": "hyperband", "max_resource": 3},
    "evaluator": "synthetic",
}
HOPELESS: dict[str, object] = {
    "evaluator": {"name": "synthetic", "divergence": 1.0},
    "scheduler": {"name": "full_training", "trials": 4, "max_resource": 3},
}


def code_of(*arguments: str) -> int:
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code)
    return 0


def submission(folder: str, experiment: dict[str, object]) -> Submission:
    return Submission(experiment, folder, "r", "1", "s3://b/code")


def test_a_submitted_search_is_the_search_and_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    search = submission(str(tmp_path), EXPERIMENT)
    assert 0 == code_of(*search.arguments())
    run = Run(str(tmp_path / "r"))
    assert (6, "night") == (len(run.results()), run.experiment.name)
    ending = json.loads(Path(search.ending).read_text())
    assert (0, "search") == (ending["exit_code"], ending["command"])
    assert [] == list((tmp_path / "temporary").iterdir())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"scheduler": {"name": "ashes"}}, 2),
        (HOPELESS, 1),
    ],
)
def test_a_search_that_fails_raises_its_code_and_leaves_it(tmp_path: Path, change: dict[str, object], code: int):
    search = submission(str(tmp_path), {**EXPERIMENT, **change})
    assert code == code_of(*search.arguments())
    assert code == verdict(search.ending)


def test_a_run_that_another_driver_holds_ends_with_75(tmp_path: Path):
    search = submission(str(tmp_path), EXPERIMENT)
    with Lease(open_files(str(tmp_path / "r"))):
        assert 75 == code_of(*search.arguments())
        assert 75 == code_of("--fail-only-unfinished", *search.arguments())
    assert 75 == verdict(search.ending)


def test_where_the_platform_retries_only_75_fails_and_the_verdict_tells_the_rest(tmp_path: Path):
    search = submission(str(tmp_path), {**EXPERIMENT, **HOPELESS})
    assert 0 == code_of("--fail-only-unfinished", *search.arguments())
    assert 1 == code_of("--verdict", search.ending)


def test_arguments_that_are_wrong_are_an_ending_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert 2 == code_of("--ending", str(tmp_path / "e.json"), "search", "--no-such")
    assert 2 == verdict(str(tmp_path / "e.json"))
    assert 0 == code_of("--ending", str(tmp_path / "e.json"), "search", "--help")
    assert 0 == verdict(str(tmp_path / "e.json"))


def test_a_defect_of_ours_is_an_ending_of_1_and_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: object) -> int:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("spark_nas.cli.main", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"):
        main(["--ending", str(tmp_path / "e.json"), "status", "x"])
    assert 1 == verdict(str(tmp_path / "e.json"))


def test_an_ending_that_cannot_be_left_does_not_hide_the_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    assert 2 == code_of("--ending", str(tmp_path / "file" / "e.json"), "report", str(tmp_path / "none"))
    assert "the ending cannot be left at" in capsys.readouterr().err


def test_there_is_no_verdict_where_nothing_has_ended(tmp_path: Path):
    with pytest.raises(OutputError, match=r"none\.json: nothing has ended here"):
        verdict(str(tmp_path / "none.json"))


def test_without_an_ending_the_code_is_all_there_is(tmp_path: Path):
    assert 2 == code_of("report", str(tmp_path / "none"))
    assert [] == list(tmp_path.iterdir())


def test_neither_a_command_nor_a_verdict_is_refused(capsys: pytest.CaptureFixture[str]):
    assert 2 == code_of("--ending", "x")
    assert "give a command of spark-nas, or --verdict" in capsys.readouterr().err


@pytest.mark.slow
def test_an_ending_lies_on_an_object_store(s3: S3):
    ending = f"{s3.prefix()}/night/_endings/1.json"
    assert 2 == code_of("--ending", ending, "report", f"{s3.prefix()}/none")
    assert 2 == verdict(ending)


STORAGE = {"storage": {"endpoint": "http://store:9000", "max_attempts": 3}}
HERE = StorageOptions(endpoint="http://store:9000", max_attempts=3)


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (["--experiment", json.dumps(STORAGE), "search", "--output", "o"], HERE),
        (["search", "--output", "o", "{tmp}/e.yaml"], HERE),
        (["search", "{tmp}/e.yaml", "--output", "o", "--set", "storage.max_attempts=4", "--set", "seed=2"], "max 4"),
        (["report", "s3://b/r", "--set", "storage.endpoint=http://store:9000"], "default attempts"),
        (["search", "{tmp}/none.yaml", "--output", "o"], None),
        (["--experiment", '{"storage": {"endpiont": "x"}}', "search", "--output", "o"], None),
        (["--experiment", '{"storage": 3}', "search", "--output", "o"], StorageOptions()),
        (["search", "--no-such"], None),
    ],
)
def test_an_ending_goes_where_the_command_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], options: StorageOptions | str | None
):
    (tmp_path / "e.yaml").write_text(json.dumps(STORAGE))
    known = {"max 4": replace(HERE, max_attempts=4), "default attempts": StorageOptions(endpoint=HERE.endpoint)}
    asked = list[object]()

    def opened(folder: str, options: StorageOptions | None = None) -> Files:
        asked.append(options)
        return open_files(str(tmp_path), options)

    monkeypatch.setattr("spark_nas.platforms.entry.open_files", opened)
    monkeypatch.setattr("spark_nas.cli.main", lambda command: 75)
    words = [word.replace("{tmp}", str(tmp_path)) for word in arguments]
    assert 75 == code_of("--ending", "s3://b/1.json", *words)
    assert [known.get(options, options) if isinstance(options, str) else options] == asked
    assert 75 == json.loads((tmp_path / "1.json").read_text())["exit_code"]
    assert 75 == code_of("--experiment", json.dumps(STORAGE), "--verdict", "s3://b/1.json")
    assert 75 == code_of("--verdict", "s3://b/1.json")
    assert [HERE, None] == asked[1:]


def test_a_command_that_is_wrong_complains_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert 2 == code_of("--ending", str(tmp_path / "e.json"), "search", "--no-such")
    out, err = capfd.readouterr()
    assert ("", 1) == (out, len(err.splitlines()))


@pytest.mark.slow
def test_an_ending_lies_on_a_store_that_only_the_experiment_knows(s3: S3, monkeypatch: pytest.MonkeyPatch):
    search = submission(s3.prefix(), {**EXPERIMENT, "storage": {"endpoint": s3.endpoint}})
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert 0 == code_of(*search.arguments())
    assert 0 == code_of("--experiment", inline(search.experiment), "--verdict", search.ending)
    assert 0 == verdict(search.ending, s3.options())


@pytest.mark.slow
def test_the_job_script_reads_its_own_command_line(tmp_path: Path):
    script = Path(__file__).resolve().parents[2] / "jobs" / "entry.py"
    search = submission(str(tmp_path), EXPERIMENT)
    done = subprocess.run([sys.executable, script, *search.arguments()], capture_output=True, text=True, check=False)
    assert (0, True) == (done.returncode, f"Run: {tmp_path}/r" in done.stdout)


@pytest.mark.parametrize(
    "value",
    [
        {"a": {"b": {"c": {}}}},
        {"t": "{{job.id}} }}"},
        {"q": 'a "quoted" \\ {word}'},
        {"l": [{"x": 1}, [{}]], "é": "ß, ,"},
    ],
)
def test_an_inline_experiment_has_no_braces_that_touch_and_comes_back_whole(value: dict[str, object]):
    text = inline(value)
    assert "{{" not in text
    assert "}}" not in text
    assert value == json.loads(text)
