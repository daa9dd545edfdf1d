"""Experiment files: what is right is taken as it stands; what is wrong is one line with a remedy, never a crash."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spark_nas.assemble import COMPONENTS
from spark_nas.config import Budget, Retrain, load, parse
from spark_nas.data.dataset import ShardedData
from spark_nas.engines.local import Local
from spark_nas.engines.session import Session
from spark_nas.engines.spark_async import SparkAsync
from spark_nas.errors import ConfigError
from spark_nas.evaluation.training import Training
from spark_nas.search.samplers.random import RandomSearch
from spark_nas.search.schedulers.asha import Asha
from spark_nas.search.schedulers.hyperband import Hyperband
from spark_nas.spaces.mlp import Mlp
from tests.config_cases import WRONG

SMALL = """\
space: mlp
scheduler: {name: hyperband, max_resource: 9}
evaluator: {name: training, learning_rate: 1e-3, milestones: [0.5, 0.75]}
data: {path: digits}
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    def to(text: str) -> str:
        (tmp_path / "experiment.yaml").write_text(text)
        return str(tmp_path / "experiment.yaml")

    return to


@pytest.fixture
def read(write: Callable[[str], str]) -> Callable[..., Any]:
    return lambda text=SMALL, *overrides: load(write(text), COMPONENTS, overrides)


def complaint(read: Callable[..., Any], text: str, *overrides: str) -> str:
    """The error's message without the file's name, which it must begin with; it must be one line."""
    with pytest.raises(ConfigError) as caught:
        read(text, *overrides)
    file, _, rest = str(caught.value).partition(": ")
    assert file.endswith("experiment.yaml")
    assert "\n" not in rest
    return rest


def test_a_small_file_is_read_with_the_defaults_of_everything_it_leaves_out(read: Callable[..., Any]):
    experiment = read()
    assert Mlp() == experiment.space
    assert Hyperband(max_resource=9) == experiment.scheduler
    assert Training(learning_rate=1e-3, milestones=(0.5, 0.75)) == experiment.evaluator
    assert ShardedData("digits") == experiment.data
    assert (RandomSearch(), Local(), Budget(), Retrain()) == (
        experiment.sampler,
        experiment.engine,
        experiment.budget,
        experiment.retrain,
    )
    assert ({}, 1, "experiment") == (experiment.recipe, experiment.seed, experiment.name)


def test_an_experiment_without_data_has_none(read: Callable[..., Any]):
    assert read("{space: mlp, scheduler: hyperband, evaluator: synthetic}").data is None


@pytest.mark.parametrize("text", ["1e-3", "1.0e-3", "0.001", "1E-3", "+1e-3", "10e-4", "1.e-3"])
def test_a_small_number_may_be_written_in_any_usual_way(read: Callable[..., Any], text: str):
    assert read(SMALL.replace("1e-3", text)).evaluator.learning_rate == 0.001


def test_a_whole_number_passes_for_a_number_and_becomes_one(read: Callable[..., Any]):
    value = read(SMALL, "budget.seconds=60").budget.seconds
    assert (value, type(value)) == (60.0, float)


def test_nested_options_are_dataclasses_too(read: Callable[..., Any]):
    text = SMALL + "engine: {name: spark_async, slots: 2, spark: {master: 'local[2]', conf: {spark.ui.enabled: false}}}"
    session = Session(master="local[2]", conf={"spark.ui.enabled": False})
    assert SparkAsync(slots=2, spark=session) == read(text).engine


def test_raw_keeps_the_file_with_its_overrides(read: Callable[..., Any]):
    experiment = read(SMALL, "scheduler.eta=4", "budget.jobs=5")
    assert {"name": "hyperband", "max_resource": 9, "eta": 4} == experiment.raw["scheduler"]
    assert {"jobs": 5} == experiment.raw["budget"]
    assert parse(experiment.raw, COMPONENTS, experiment.file) == experiment


# ------------------------------------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("override", "where", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("name=try", ("name",), "try"),
        ("scheduler.eta=4", ("scheduler", "eta"), 4),
        ("space.max_layers=2", ("space", "max_layers"), 2),
        ("evaluator.milestones=[0.1, 0.2]", ("evaluator", "milestones"), (0.1, 0.2)),
        ("evaluator.learning_rate=1e-1", ("evaluator", "learning_rate"), 0.1),
        ("engine.slots=3", ("engine", "slots"), 3),
        ("engine.time_limit=null", ("engine", "time_limit"), None),
        ("recipe.dropout=0.5", ("recipe",), {"dropout": 0.5}),
        ("data.path=a=b", ("data", "path"), "a=b"),
    ],
)
def test_an_override_sets_its_value(read: Callable[..., Any], override: str, where: tuple[str, ...], value: object):
    found = read(SMALL, override)
    for name in where:
        found = getattr(found, name)
    assert value == found


def test_an_override_may_choose_another_component_whole(read: Callable[..., Any]):
    assert Asha(eta=3) == read(SMALL, "scheduler={name: asha, eta: 3}").scheduler
    assert Asha() == read(SMALL, "scheduler=asha").scheduler


def test_an_override_reaches_into_sections_that_are_not_there(read: Callable[..., Any]):
    experiment = read(SMALL, "engine.name=spark_async", "engine.spark.master=local[2]")
    assert SparkAsync(spark=Session(master="local[2]")) == experiment.engine


def test_later_overrides_win(read: Callable[..., Any]):
    assert read(SMALL, "seed=2", "seed=3").seed == 3


def test_an_override_with_null_takes_a_section_away(read: Callable[..., Any]):
    assert read(SMALL, "evaluator=synthetic", "data=null").data is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set: 'seed': must be key.path=value"),
        ("=3", "--set: '=3': must be key.path=value"),
        ("seed={", "--set seed: '{': is not a YAML value"),
        ("name=2020-13-45", "--set name: '2020-13-45': is not a YAML value"),
        ("seed.deep=3", "seed: 1: --set seed.deep: is not a section"),
        ("schedular.eta=4", "schedular: {'eta': 4}: unknown key; did you mean 'scheduler'?"),
        ("scheduler.etta=4", "scheduler.etta: 4: unknown key; did you mean 'eta'?"),
        (
            r'name="\ud800"',
            r"name: '\ud800': holds half a character, which cannot be written: give the character itself, "
            r"or \UXXXXXXXX",
        ),
        ("seed=" + "[" * 3000, f"--set seed: '{'[' * 40}...': is nested too deeply"),
        ("seed=", "seed: None: must be a whole number, not NoneType"),
    ],
)
def test_an_unusable_override_is_named(read: Callable[..., Any], override: str, message: str):
    assert message == complaint(read, SMALL + "seed: 1", override)


# ------------------------------------------------------------------------------------ what may be wrong


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_one_line_with_file_key_value_and_remedy(read: Callable[..., Any], case: str):
    text, message = WRONG[case]
    section = text.split(":", 1)[0]
    rest = [line for line in SMALL.splitlines() if not line.startswith(f"{section}:")]
    assert message in complaint(read, "\n".join([*rest, text]))


@pytest.mark.parametrize("section", ["space", "scheduler", "evaluator"])
@pytest.mark.parametrize("text", ["", "{section}:", "{section}: null"])
def test_a_section_that_is_missing_or_empty_is_named_with_what_there_is(
    read: Callable[..., Any], section: str, text: str
):
    rest = [line for line in SMALL.splitlines() if not line.startswith(section)]
    message = complaint(read, "\n".join([*rest, text.format(section=section)]))
    assert message.startswith(f"{section}: None: missing section; one of: ")
    assert set(COMPONENTS[section]) == set(message.split("one of: ")[1].split(", "))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: [mlp", "line 1, column 12: \"expected ',' or ']', but got '<stream end>'\": not valid YAML"),
        ("seed: 1\nseed: 2", "line 2, column 1: \"key 'seed' stands twice\": not valid YAML"),
        ("space: {name: mlp, name: darts}", "\"key 'name' stands twice\": not valid YAML"),
        ("a: !!python/object:os.system {}", "not valid YAML"),
        ("name: 2020-13-45", "not valid YAML: month must be in 1..12: put it in quotes"),
        ("{[1, 2]: 3}", "not valid YAML"),
        ("{{a: 1}: 3}", "not valid YAML"),
        ("space: \x07", "not valid YAML"),
        ("", "experiment file: None: must be a mapping of sections"),
        ("a: " + "[" * 3000, "is nested too deeply"),
        ("a: " + "{a: " * 3000, "is nested too deeply"),
        ("- space", "experiment file: ['space']: must be a mapping of sections"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_with_the_place(read: Callable[..., Any], text: str, message: str):
    assert message in complaint(read, text)


def test_a_section_may_be_written_once_and_used_twice(read: Callable[..., Any]):
    text = "space: mlp\nscheduler: {<<: &base {max_resource: 9}, name: hyperband}\nevaluator: synthetic\n"
    assert Hyperband(max_resource=9) == read(text).scheduler


def test_a_character_of_any_plane_is_taken(read: Callable[..., Any]):
    assert read(SMALL + r'name: "\U0001F600 é"').name == "\U0001f600 é"


@pytest.mark.timeout(20)
def test_what_yaml_refers_to_over_and_over_is_looked_at_once(read: Callable[..., Any]):
    doubled = "".join(f", &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60))
    assert "a" in read(SMALL + f"recipe: {{a: [&a0 [x]{doubled}, &itself [*itself]]}}").recipe


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff")
    for name, reason in (("none.yaml", "No such file"), ("picture.yaml", "not a text file"), ("", "Is a directory")):
        with pytest.raises(ConfigError, match=rf"{name}: experiment file: .*cannot be read: {reason}"):
            load(tmp_path / name, COMPONENTS)


def test_a_component_whose_package_is_not_installed_says_which(read: Callable[..., Any]):
    components = {**COMPONENTS, "sampler": {"random": "no_such_package.sampler:Sampler"}}
    with pytest.raises(ConfigError, match=r"sampler.name: 'random': needs the package 'no_such_package'; install it"):
        parse({"space": "mlp", "scheduler": "asha", "evaluator": "synthetic"}, components)
