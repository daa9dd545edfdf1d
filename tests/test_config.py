"""Experiment files: what is right is taken as it stands; what is wrong is one line with a remedy, never a crash."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spark_nas.assemble import COMPONENTS
from spark_nas.checking import Checker, component_class
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
        ("seed.deep=3", "seed: 1: --set seed.deep: is not a section"),
        ("schedular.eta=4", "schedular: {'eta': 4}: unknown key; did you mean 'scheduler'?"),
        ("scheduler.etta=4", "scheduler.etta: 4: unknown key; did you mean 'eta'?"),
        ("seed=", "seed: None: must be a whole number, not NoneType"),
    ],
)
def test_an_unusable_override_is_named(read: Callable[..., Any], override: str, message: str):
    assert message == complaint(read, SMALL + "seed: 1", override)


# ------------------------------------------------------------------------------------ what may be wrong

WRONG: dict[str, tuple[str, str]] = {
    "misspelt section": ("schedular: asha", "schedular: 'asha': unknown key; did you mean 'scheduler'?"),
    "section that is nothing like any": (
        "xyzzy: 1",
        "xyzzy: 1: unknown key; known: budget, data, engine, evaluator, method, name, recipe, retrain, sampler, scheduler, "
        "seed, space",
    ),
    "key that is a number": ("1: 2", "1: 2: unknown key; known: budget,"),
    "key that is nothing": ("~: 2", "None: 2: unknown key"),
    "misspelt option": (
        "scheduler: {name: asha, max_resources: 9}",
        "scheduler.max_resources: 9: unknown key; did you mean 'max_resource'?",
    ),
    "option of another component": (
        "scheduler: {name: hyperband, trials: 9}",
        "scheduler.trials: 9: unknown key; known: eta, iterations, max_resource, min_resource, overlap, rounding",
    ),
    "misspelt name": (
        "scheduler: hyperbund",
        "scheduler.name: 'hyperbund': unknown scheduler; did you mean 'hyperband'?; one of: asha,",
    ),
    "no name": ("scheduler: {eta: 3}", "scheduler.name: None: needs a name; one of: asha,"),
    "name that is a list": ("scheduler: {name: [asha]}", "scheduler.name: ['asha']: unknown scheduler"),
    "name that is a mapping": ("scheduler: {name: {asha: 3}}", "scheduler.name: {'asha': 3}: unknown scheduler"),
    "name that is a number": ("scheduler: {name: 3}", "scheduler.name: 3: unknown scheduler"),
    "section that is a list": (
        "scheduler: [asha]",
        "scheduler: ['asha']: must be a name, or a mapping with a name and options",
    ),
    "whole number as text": (
        "scheduler: {name: asha, eta: four}",
        "scheduler.eta: 'four': must be a whole number, not str",
    ),
    "whole number as fraction": ("scheduler: {name: asha, eta: 3.5}", "scheduler.eta: 3.5: must be a whole number"),
    "whole number as truth": ("scheduler: {name: asha, eta: yes}", "scheduler.eta: True: must be a whole number"),
    "number as text": (
        "evaluator: {name: training, learning_rate: fast}",
        "evaluator.learning_rate: 'fast': must be a number, not str",
    ),
    "number beyond all floats": (
        f"evaluator: {{name: training, learning_rate: {10**400}}}",
        f"evaluator.learning_rate: {10**400}: must be a number",
    ),
    "truth as number": (
        "evaluator: {name: training, nesterov: 1}",
        "evaluator.nesterov: 1: must be true or false, not int",
    ),
    "text as number": ("data: {path: 5}", "data.path: 5: must be text, not int"),
    "text as date": ("name: 2020-01-01", "name: datetime.date(2020, 1, 1): must be text, not date"),
    "choice that is none": (
        "evaluator: {name: training, schedule: cosin}",
        "evaluator.schedule: 'cosin': must be one of: cosine, cosine_restarts, exponential, step, constant; did you mean 'cosine'?",
    ),
    "choice of another type": (
        "evaluator: {name: training, schedule: true}",
        "evaluator.schedule: True: must be one of: cosine, cosine_restarts, exponential, step, constant",
    ),
    "choice that is a list": (
        "evaluator: {name: training, schedule: [step]}",
        "evaluator.schedule: ['step']: must be one of",
    ),
    "list that is a number": (
        "evaluator: {name: training, milestones: 0.5}",
        "evaluator.milestones: 0.5: must be a list",
    ),
    "wrong value in a list": (
        "evaluator: {name: training, milestones: [0.1, half]}",
        "evaluator.milestones[1]: 'half': must be a number, not str",
    ),
    "wrong type in an option that may be null": (
        "engine: {name: local, time_limit: soon}",
        "engine.time_limit: 'soon': must be a number, not str",
    ),
    "null in an option that may not": ("scheduler: {name: asha, eta: null}", "scheduler.eta: None: must be a whole"),
    "nested option misspelt": (
        "engine: {name: spark_async, spark: {mster: yarn}}",
        "engine.spark.mster: 'yarn': unknown key; did you mean 'master'?",
    ),
    "nested option of the wrong type": (
        "engine: {name: spark_async, spark: {conf: [a]}}",
        "engine.spark.conf: ['a']: must be a mapping with names as keys",
    ),
    "nested value out of range": (
        "engine: {name: spark_async, spark: {wait_seconds: -1}}",
        "engine.spark.wait_seconds: -1.0: give at least 0",
    ),
    "nested section that is none": (
        "engine: {name: spark_async, spark: yarn}",
        "engine.spark: 'yarn': must be a mapping of options",
    ),
    "mandatory option left out": ("data: {}", "data.path: None: missing; it has no default"),
    "value out of range": ("scheduler: {name: asha, eta: 1}", "scheduler.eta: 1: must be at least 2"),
    "not a number": (
        "evaluator: {name: training, learning_rate: .nan}",
        "evaluator.learning_rate: nan: must be greater than 0",
    ),
    "seed out of range": ("seed: 0", "seed: 0: must be at least 1"),
    "seed of the wrong type": ("seed: x", "seed: 'x': must be a whole number"),
    "budget without end": ("budget: {seconds: 0}", "budget.seconds: 0.0: must be greater than 0, or left out"),
    "budget that is not a number": ("budget: {seconds: .nan}", "budget.seconds: nan: must be greater than 0"),
    "budget of no attempts": ("budget: {attempts: 0}", "budget.attempts: 0: must be at least 1"),
    "budget that is a number": ("budget: 60", "budget: 60: must be a mapping of options"),
    "misspelt budget": ("budget: {second: 60}", "budget.second: 60: unknown key; did you mean 'seconds'?"),
    "retraining for nothing": ("retrain: {epochs: 0}", "retrain.epochs: 0: must be at least 1"),
    "retraining without seeds": ("retrain: {seeds: 0}", "retrain.seeds: 0: must be at least 1"),
    "recipe that is a list": ("recipe: [dropout]", "recipe: ['dropout']: must be a mapping with names as keys"),
    "recipe with a number as key": ("recipe: {1: 2}", "recipe: {1: 2}: must be a mapping with names as keys"),
}


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
        ("{[1, 2]: 3}", "not valid YAML"),
        ("{{a: 1}: 3}", "not valid YAML"),
        ("space: \x07", "not valid YAML"),
        ("", "experiment file: None: must be a mapping of sections"),
        ("- space", "experiment file: ['space']: must be a mapping of sections"),
    ],
)
def test_a_file_that_is_no_experiment_is_refused_with_the_place(read: Callable[..., Any], text: str, message: str):
    assert message in complaint(read, text)


def test_a_section_may_be_written_once_and_used_twice(read: Callable[..., Any]):
    text = "space: mlp\nscheduler: {<<: &base {max_resource: 9}, name: hyperband}\nevaluator: synthetic\n"
    assert Hyperband(max_resource=9) == read(text).scheduler


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "picture.yaml").write_bytes(b"\xff\xd8\xff")
    for name, reason in (("none.yaml", "No such file"), ("picture.yaml", "not a text file"), ("", "Is a directory")):
        with pytest.raises(ConfigError, match=rf"{name}: experiment file: .*cannot be read: {reason}"):
            load(tmp_path / name, COMPONENTS)


def test_a_component_whose_package_is_not_installed_says_which(read: Callable[..., Any]):
    components = {**COMPONENTS, "sampler": {"random": "no_such_package.sampler:Sampler"}}
    with pytest.raises(ConfigError, match=r"sampler.name: 'random': needs the package 'no_such_package'; install it"):
        parse({"space": "mlp", "scheduler": "asha", "evaluator": "synthetic"}, components)


# --------------------------------------------------------------------------------------- types in themselves


@dataclasses.dataclass(frozen=True)
class Everything:
    """One field of each kind that options may have."""

    pair: tuple[int, str] = (1, "a")
    numbers: tuple[float, ...] = ()
    by_name: Mapping[str, float] = dataclasses.field(default_factory=dict)
    either: int | str | None = None
    flag: bool = False


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"pair": [2, "b"]}, Everything(pair=(2, "b"))),
        ({"numbers": [1, 2.5]}, Everything(numbers=(1.0, 2.5))),
        ({"numbers": []}, Everything()),
        ({"by_name": {"a": 1}}, Everything(by_name={"a": 1.0})),
        ({"either": 3}, Everything(either=3)),
        ({"either": "3"}, Everything(either="3")),
        ({"either": None}, Everything()),
        ({"flag": True}, Everything(flag=True)),
    ],
)
def test_values_take_the_type_of_their_field(section: Mapping[str, object], expected: Everything):
    built = Checker("f").build(Everything, section, "s")
    assert expected == built
    assert [type(v) for v in built.numbers] == [float] * len(built.numbers)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"pair": [2]}, "f: s.pair: [2]: must be a list of 2 values"),
        ({"pair": [2, 3]}, "f: s.pair[1]: 3: must be text, not int"),
        ({"pair": "ab"}, "f: s.pair: 'ab': must be a list"),
        ({"by_name": {"a": "x"}}, "f: s.by_name.a: 'x': must be a number, not str"),
        ({"by_name": {1: 2}}, "f: s.by_name: {1: 2}: must be a mapping with names as keys"),
        ({"either": [1]}, "f: s.either: [1]: must be a whole number or text"),
        ({"either": True}, "f: s.either: True: must be a whole number or text"),
        ({"flag": "yes"}, "f: s.flag: 'yes': must be true or false, not str"),
        ({"flag": 0}, "f: s.flag: 0: must be true or false, not int"),
    ],
)
def test_values_of_another_type_are_refused(section: Mapping[str, object], message: str):
    with pytest.raises(ConfigError, match=re.escape(message)):
        Checker("f").build(Everything, section, "s")


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.sampled_from([0.0, -0.5, 0.3, 1e-3, 2.0, 1e308, math.nan, math.inf, -math.inf, 10**30, -(10**400)])
    | st.sampled_from(["", "x", "step", "best", "mean", "lcbench", "s3://b/k", "local[2]"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=4,
)
CLASSES = {dotted for names in COMPONENTS.values() for dotted in names.values()}


@settings(max_examples=200, deadline=None)
@given(data=st.data(), dotted=st.sampled_from(sorted(CLASSES)))
def test_no_value_of_any_option_of_any_component_crashes_the_check(data: st.DataObject, dotted: str):
    cls = component_class(dotted)
    names = [f.name for f in dataclasses.fields(cls)]
    section = data.draw(st.dictionaries(st.sampled_from(names), values, max_size=4)) if names else {}
    try:
        built = Checker("file").build(cls, section, "section")
    except ConfigError as error:
        built = str(error)
    assert isinstance(built, cls) or re.fullmatch(r"file: section\..+: .+: .+", built)
