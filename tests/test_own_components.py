"""Components of one's own: an object for the API, `module:Class` in a file, and the same run by either."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

import spark_nas
from spark_nas import FullTraining, Local, OneShot
from spark_nas.assemble import describe, parse_experiment
from spark_nas.errors import ConfigError, OptionError
from spark_nas.evaluation.evaluator import build_network
from spark_nas.spaces.core import Architecture, SearchSpace
from spark_nas.spaces.recipes import RecipeSpace
from tests import own_components
from tests.own_components import Climb, Counting, Pairs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

OWN: dict[str, Any] = {
    "space": Pairs(["relu", "tanh", "elu"], units=4),
    "sampler": Climb(start=3),
    "scheduler": FullTraining(trials=8, max_resource=1),
    "evaluator": Counting(),
}
WRITTEN = """\
space: {name: "tests.own_components:Pairs", options: [relu, tanh, elu], units: 4}
sampler: {name: "tests.own_components:Climb", start: 3}
scheduler: {name: full_training, trials: 8, max_resource: 1}
evaluator: tests.own_components:Counting
"""


def test_a_file_and_a_program_make_the_same_run(tmp_path: Path):
    (tmp_path / "own.yaml").write_text(WRITTEN)
    by_program = spark_nas.search(**OWN, output=tmp_path, run_id="program")
    by_file = spark_nas.search(tmp_path / "own.yaml", output=tmp_path)
    assert ("program", "own") == (by_program.run_id, by_file.run_id)
    assert by_program.record["identity"] == by_file.record["identity"]
    rows = [[(r.job, r.loss, r.metrics) for r in run.view.results] for run in (by_program, by_file)]
    assert rows[0] == rows[1]
    assert 8 == len(rows[0])
    continued = spark_nas.search(tmp_path / "own.yaml", output=tmp_path, run_id="program")
    assert by_program.view.results == continued.view.results


def test_the_record_says_what_they_were(tmp_path: Path):
    run = spark_nas.search(**OWN, output=tmp_path, run_id="x")
    identity = json.loads((tmp_path / "x/run.json").read_text())["identity"]
    expected = {"name": "tests.own_components:Pairs", "options": ["relu", "tanh", "elu"], "units": 4}
    assert expected == identity["space"]
    assert {"name": "tests.own_components:Climb", "start": 3} == identity["sampler"]
    assert "# save the experiment below as x.yaml" == run.view.commands[0]
    with pytest.raises(spark_nas.UsageError, match=r"space.units was 4 and is now 5"):
        spark_nas.search(**OWN | {"space": Pairs(["relu", "tanh", "elu"], units=5)}, output=tmp_path, run_id="x")


def test_the_sampler_climbs(tmp_path: Path):
    run = spark_nas.search(**OWN, output=tmp_path)
    losses = [result.loss for result in run.view.results]
    assert 0.0 == min(losses) == run.best.loss
    assert "relu" not in run.best.architecture.values()


def test_a_run_whose_code_is_gone_is_read_but_neither_drawn_nor_retrained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    drawn = spark_nas.search(**OWN, output=tmp_path).view.graph
    assert ["layer 1", "layer 2"] == [node.name for node in drawn.nodes[1:-1]]
    monkeypatch.delattr(own_components, "Pairs")
    run = spark_nas.load_run(tmp_path / "search")
    assert (8, None) == (len(run.results), run.view.graph)
    with pytest.raises(ConfigError, match=r"space\.name: 'tests\.own_components:Pairs': must be module:Class"):
        spark_nas.retrain(run)


def test_a_class_that_was_defined_again_or_inside_a_function_is_refused(monkeypatch: pytest.MonkeyPatch):
    @dataclass(frozen=True)
    class Inside:
        def build(self, space: SearchSpace, recipes: RecipeSpace, seed: int):
            return Climb().build(space, recipes, seed)

    with pytest.raises(OptionError, match=r"sampler: 'tests.*Inside': must be module:Class, a dataclass at the top"):
        spark_nas.search(**OWN | {"sampler": Inside()}, output="unused")
    Inside.__qualname__ = "Climb"
    monkeypatch.setattr(own_components, "Climb", Inside)
    with pytest.raises(OptionError, match=r"sampler: 'tests\.own_components:Climb': its class has been defined again"):
        spark_nas.search(**OWN, output="unused")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("no_such_package.x:Y", "no module 'no_such_package' on Python's path"),
        ("tests.own_components:Nothing", "must be module:Class"),
        ("tests.own_components:Climber", "must be module:Class"),
        ("os:path", "must be module:Class"),
        (":Pairs", "must be module:Class"),
    ],
)
def test_a_name_that_leads_to_no_component_is_refused(name: str, remedy: str):
    with pytest.raises(ConfigError, match=f"<experiment>: space.name: '{name}': {remedy}"):
        parse_experiment({"space": name, "scheduler": "hyperband", "evaluator": "synthetic"})


def test_lists_are_checked_like_tuples():
    section = {"name": "tests.own_components:Pairs", "options": ["relu", 1]}
    with pytest.raises(ConfigError, match=r"space\.options\[1\]: 1: must be text"):
        parse_experiment({"space": section, "scheduler": "hyperband", "evaluator": "synthetic"})


def test_schedulers_inside_one_another_are_described_with_their_names():
    described = describe(OneShot(supernets=FullTraining(trials=2, max_resource=3)))
    assert {"name": "full_training", "trials": 2, "max_resource": 3} == described["supernets"]
    assert None is described["retrain"]


def test_the_network_of_an_own_space_is_built_by_its_options():
    space = Pairs(units=5).build()
    network = build_network(space, Architecture({"layer 1": "relu", "layer 2": "tanh"}), {}, (1, 8, 8), 10)
    assert (3, 10) == tuple(network(torch.zeros(3, 1, 8, 8)).shape)
    with pytest.raises(OptionError, match="is not in the space Pairs"):
        build_network(space, Architecture({"layer 1": "gelu"}), {}, (1, 8, 8), 10)
    assert 4 == space.size()


def test_a_space_says_nothing_of_what_it_has_not():
    plain = spark_nas.Space()
    assert ("Space", (), {}, ()) == (plain.name, plain.choices, plain.default_recipe(), plain.recipe_keys)
    assert ["input", "output"] == [node.label for node in plain.graph(Architecture(), {}).nodes]


@pytest.mark.spark
@pytest.mark.slow
def test_they_train_and_are_retrained_on_spark(spark: SparkSession, digits: Path, tmp_path: Path):
    own = {"space": Pairs(units=16), "sampler": Climb(1), "evaluator": own_components.Scaled(3.0)}
    run = spark_nas.search(
        **own,
        scheduler=FullTraining(trials=2, max_resource=2),
        data=digits,
        output=tmp_path,
        spark=spark,
    )
    best = run.results.set_index("trial_id").loc[run.best.trial_id]
    assert ["completed"] * 2 == list(run.results.status)
    assert run.best.loss == pytest.approx(3 * best.curve[-1]["loss"])
    with pytest.raises(spark_nas.UsageError, match="trains no network: there is nothing to retrain"):
        spark_nas.retrain(run, spark=spark)
    assert 3 == spark.range(3).count()


def test_an_engine_of_this_process_takes_no_session():
    with pytest.raises(ConfigError, match=r"engine.name: 'local': runs without Spark: leave out spark"):
        spark_nas.search(**OWN, engine=Local(), spark=object(), output="unused")
