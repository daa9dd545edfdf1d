"""`spark-nas latency`: a table measured here is a table that methods read."""

from __future__ import annotations

from pathlib import Path

import pytest

from spark_nas.assemble import parse_experiment
from spark_nas.cli import main
from spark_nas.spaces.latency import LatencyTable

EXPERIMENT = """
space: {name: proxyless, width: 0.25, widths: [24, 40], depths: [2, 1], strides: [1, 2], stem_stride: 1}
scheduler: {name: one_shot, supernets: {name: full_training, trials: 1, max_resource: 1}, candidates: 0}
method: {name: proxyless, latency: missing.json, reference: 1.0}
evaluator: training
"""


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    file = tmp_path / "mine.yaml"
    file.write_text(EXPERIMENT)
    return file


def test_every_option_of_the_space_is_measured_and_the_method_reads_it(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "table.json"
    arguments = ["latency", str(experiment), "--output", str(output), "--input-shape", "1,8,8", "--repeats", "1"]
    assert 0 == main([*arguments, "--processor-time"])
    assert "networks of mine take" in capsys.readouterr().out
    table = LatencyTable.from_json(output.read_text())
    space = parse_experiment({**_plain(), "method": "random_sharing"}).space.build()
    assert {choice.name: set(choice.options) for choice in space.choices} == {
        choice: set(options) for choice, options in table.options.items()
    }
    assert table.fixed > 0
    method = {"name": "proxyless", "latency": str(output), "reference": 1.0}
    assert table == parse_experiment({**_plain(), "method": method}).method.table


def test_a_space_that_is_searched_without_a_supernet_is_measured_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = tmp_path / "cell.yaml"
    file.write_text("{space: {name: nas_bench_201, channels: 2, cells: 1}, scheduler: hyperband, evaluator: training}")
    arguments = ["latency", str(file), "--output", str(tmp_path / "t.json"), "--input-shape", "1,8,8", "--repeats", "1"]
    assert 0 == main(arguments), capsys.readouterr().err
    assert 6 == len(LatencyTable.from_json((tmp_path / "t.json").read_text()).options)


def test_the_shape_is_that_of_the_experiments_data_and_else_must_be_given(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert 2 == main(["latency", str(experiment), "--output", str(tmp_path / "t.json")])
    assert "--input-shape: give C,H,W" in capsys.readouterr().err
    assert 2 == main(["latency", str(experiment), "--output", str(tmp_path / "t.json"), "--input-shape", "a,b"])
    assert "must be whole numbers, for example 3,32,32" in capsys.readouterr().err
    missing = f"data.path={tmp_path}/nothing"
    assert 2 == main(["latency", str(experiment), "--output", str(tmp_path / "t.json"), "--set", missing])
    assert "nothing" in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_one_line(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = str(tmp_path / "no" / "folder" / "t.json")
    assert 2 == main(["latency", str(experiment), "--output", output, "--input-shape", "1,8,8", "--repeats", "1"])
    assert f"--output {output}: cannot be written: No such file or directory" in capsys.readouterr().err


def _plain() -> dict[str, object]:
    import yaml

    plain: dict[str, object] = yaml.safe_load(EXPERIMENT)
    return plain
