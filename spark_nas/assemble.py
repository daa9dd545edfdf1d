"""From an experiment file to objects: the one place that knows every implementation by name.

A new method is one file and one line here. The values are `module:Class` of the method's options dataclass, imported
when an experiment names it. What is not listed here an experiment names as `module:Class` itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from spark_nas.checking import Components
from spark_nas.config import Experiment, load, parse
from spark_nas.errors import ConfigError, OptionError
from spark_nas.search.protocols import Dataset, Engine, Evaluator, JobStore, Sampler, Scheduler
from spark_nas.search.records import RecipeValue, derive_seed
from spark_nas.spaces.core import SearchSpace
from spark_nas.spaces.recipes import RecipeSpace

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

COMPONENTS: Components = {
    "space": {
        "darts": "spark_nas.spaces.darts:Darts",
        "darts_rnn": "spark_nas.spaces.darts_rnn:DartsRnn",
        "enas_macro": "spark_nas.spaces.enas_macro:EnasMacro",
        "enas_micro": "spark_nas.spaces.enas_micro:EnasMicro",
        "enas_rnn": "spark_nas.spaces.enas_rnn:EnasRnn",
        "mlp": "spark_nas.spaces.mlp:Mlp",
        "nas_bench_201": "spark_nas.spaces.nas_bench_201:NasBench201",
        "proxyless": "spark_nas.spaces.proxyless:Proxyless",
        "table_rows": "spark_nas.spaces.table:TableRows",
        "wide_resnet": "spark_nas.spaces.wide_resnet:WideResNet",
    },
    "sampler": {
        "given": "spark_nas.search.samplers.given:Given",
        "random": "spark_nas.search.samplers.random:RandomSearch",
    },
    "scheduler": {
        "asha": "spark_nas.search.schedulers.asha:Asha",
        "asynchronous_hyperband": "spark_nas.search.schedulers.async_hyperband:AsynchronousHyperband",
        "full_training": "spark_nas.search.schedulers.full_training:FullTraining",
        "hyperband": "spark_nas.search.schedulers.hyperband:Hyperband",
        "one_shot": "spark_nas.search.schedulers.one_shot:OneShot",
        "stopping": "spark_nas.search.schedulers.stopping:StoppingAsha",
        "successive_halving": "spark_nas.search.schedulers.successive_halving:SuccessiveHalving",
    },
    "method": {
        "darts": "spark_nas.evaluation.oneshot.darts:Darts",
        "enas": "spark_nas.evaluation.oneshot.enas:Enas",
        "gaea": "spark_nas.evaluation.oneshot.gaea:Gaea",
        "gaea_gdas": "spark_nas.evaluation.oneshot.gaea_gdas:GaeaGdas",
        "gdas": "spark_nas.evaluation.oneshot.gdas:Gdas",
        "one_shot": "spark_nas.evaluation.oneshot.one_shot:OneShotPaths",
        "pc_darts": "spark_nas.evaluation.oneshot.pc_darts:PcDarts",
        "proxyless": "spark_nas.evaluation.oneshot.proxyless:Proxyless",
        "random_sharing": "spark_nas.evaluation.oneshot.random_sharing:RandomSharing",
        "snas": "spark_nas.evaluation.oneshot.snas:Snas",
    },
    "evaluator": {
        "synthetic": "spark_nas.evaluation.synthetic:Synthetic",
        "tabular": "spark_nas.evaluation.tabular:Tabular",
        "training": "spark_nas.evaluation.training:Training",
    },
    "engine": {
        "local": "spark_nas.engines.local:Local",
        "simulated": "spark_nas.engines.simulated:Simulated",
        "spark_async": "spark_nas.engines.spark_async:SparkAsync",
        "spark_distributed": "spark_nas.engines.spark_distributed:SparkDistributed",
        "spark_rounds": "spark_nas.engines.spark_rounds:SparkRounds",
    },
    "data": {
        "shards": "spark_nas.data.dataset:ShardedData",
    },
    "tracking": {
        "mlflow": "spark_nas.tracking.mlflow:Mlflow",
        "tensorboard": "spark_nas.tracking.tensorboard:TensorBoard",
    },
}

_TRIED = 32
"""Recipes that are drawn, and thrown away, to check an experiment."""


def load_experiment(file: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read, check and cross-check an experiment file. Raises ConfigError."""
    return _checked(load(file, COMPONENTS, overrides))


def parse_experiment(raw: Mapping[str, Any], file: str = "<experiment>", folders: Sequence[Path] = ()) -> Experiment:
    """The same from a mapping, for programs and notebooks; `folders` as `config.parse` has them."""
    return _checked(parse(raw, COMPONENTS, file, folders))


@dataclasses.dataclass(frozen=True)
class Parts:
    """The objects of one experiment that need no cluster."""

    experiment: Experiment
    space: SearchSpace
    recipes: RecipeSpace
    dataset: Dataset | None
    evaluator: Evaluator

    def scheduler(self) -> Scheduler:
        """A fresh scheduler at the beginning of the search."""
        return build_scheduler(self.experiment, self.space, self.recipes)

    def engine(self, store: JobStore | None, spark: SparkSession | None = None) -> Engine:
        """The engine; one that runs on Spark takes the given session, or opens what its options say."""
        with _Located(self.experiment, "engine"):
            options = self.experiment.engine
            engine: Engine = options.build(evaluator=self.evaluator, store=store, **({"spark": spark} if spark else {}))
        return engine

    def identity(self) -> dict[str, Any]:
        """What decides the results: two runs with equal identities are the same experiment."""
        e = self.experiment
        order = getattr(self.dataset, "ordered_by", None)
        return {
            "seed": e.seed,
            "recipe": recipe_section(e),
            "data": getattr(self.dataset, "fingerprint", None),
            **({"data_order": order} if order is not None else {}),
            **{name: describe(getattr(e, name)) for name in ("space", "sampler", "scheduler", "evaluator")},
            **({"method": identity_of(e.method)} if e.method is not None else {}),
        }


def assemble(experiment: Experiment) -> Parts:
    """Build whatever can be built without a cluster; bad input ends here. Raises ConfigError or DataError."""
    with _Located(experiment, "data"):
        dataset = experiment.data.build(experiment.storage.resolved()) if experiment.data is not None else None
    space = experiment.space.build()
    with _Located(experiment, "evaluator"):
        evaluator = experiment.evaluator.build(space, dataset, experiment.scheduler.max_resource)
    if experiment.method is not None:
        evaluator = _with_method(experiment, evaluator, space)
    _check_resources(experiment, evaluator)
    recipes = build_recipes(experiment)
    with _Located(experiment, "sampler"):
        experiment.sampler.build(space, recipes, 1)
    return Parts(experiment, space, recipes, dataset, evaluator)


def _with_method(experiment: Experiment, evaluator: Any, space: SearchSpace) -> Evaluator:
    """The evaluator of supernets. Raises ConfigError for one that trains no network, and what the method refuses."""
    if not hasattr(evaluator, "method"):
        name = describe(experiment.evaluator)["name"]
        raise ConfigError(experiment.file, "evaluator.name", name, "trains no supernet: use training")
    with _Located(experiment, "method"):
        method = experiment.method.build(space)
        if hasattr(experiment.method, "check_training"):
            experiment.method.check_training(experiment.evaluator)
    if experiment.scheduler.candidates == 0 and not method.derive():
        name = describe(experiment.method)["name"]
        raise ConfigError(experiment.file, "scheduler.candidates", 0, f"{name} derives nothing itself: give candidates")
    return dataclasses.replace(evaluator, method=experiment.method)  # type: ignore[no-any-return]


def recipe_section(experiment: Experiment) -> Mapping[str, object]:
    """The space's own recipe, with what the experiment adds or overrides."""
    return {**experiment.space.default_recipe(), **experiment.recipe}


def build_recipes(experiment: Experiment) -> RecipeSpace:
    """The recipe space of an experiment."""
    with _Located(experiment, ""):
        return RecipeSpace(recipe_section(experiment))


def build_scheduler(experiment: Experiment, space: SearchSpace, recipes: RecipeSpace) -> Scheduler:
    """A fresh scheduler with a fresh sampler."""
    sampler: Sampler = experiment.sampler.build(space, recipes, derive_seed(experiment.seed, "sampler"))
    scheduler: Scheduler = experiment.scheduler.build(sampler, derive_seed(experiment.seed, "trials"))
    return scheduler


def describe(options: Any) -> dict[str, Any]:
    """The name and every option of a component, defaults included; components inside it likewise.

    One that `COMPONENTS` does not list has the name `module:Class`.
    """
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options) if field.init}
    for key, value in values.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            values[key] = describe(value) if hasattr(value, "build") else dataclasses.asdict(value)
    dotted = _dotted(type(options))
    return {"name": _names().get(dotted, dotted), **values}


def identity_of(options: Any) -> dict[str, Any]:
    """The description, and what the options have read from files: a table that has changed is another experiment."""
    read = {field.name: getattr(options, field.name) for field in dataclasses.fields(options) if not field.init}
    return {
        **describe(options),
        **{name: dataclasses.asdict(value) for name, value in read.items() if value is not None},
    }


def _names() -> dict[str, str]:
    return {dotted: name for names in COMPONENTS.values() for name, dotted in names.items()}


def _dotted(cls: type) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _checked(experiment: Experiment) -> Experiment:
    """Checks that span sections."""
    scheduler, file = experiment.scheduler, experiment.file
    budget = experiment.budget
    rounds = getattr(experiment.engine, "whole_rounds", False)
    if scheduler.endless and budget.jobs is None and budget.resource is None and (rounds or budget.seconds is None):
        wanted = ".jobs or .resource: its rounds have no end, either" if rounds else ".seconds, .jobs or .resource"
        raise ConfigError(file, "scheduler", describe(scheduler)["name"], f"is endless: give budget{wanted}")
    if scheduler.asynchronous and rounds:
        name, engine = describe(scheduler)["name"], describe(experiment.engine)["name"]
        raise ConfigError(file, "engine.name", engine, f"{name} decides after each result: use spark_async")
    supernets = hasattr(scheduler, "supernets")
    if supernets != (experiment.method is not None):
        if supernets:
            raise ConfigError(file, "method", None, "scheduler one_shot trains supernets: say by which method")
        name = describe(experiment.method)["name"]
        raise ConfigError(file, "method", name, "searches the open choices of supernets: use scheduler one_shot")
    recipes = build_recipes(experiment)
    _check_recipe(experiment, recipes, "recipe", {})
    # Those of trainings that come last, and must not be found wrong then.
    for place, override in (
        ("scheduler.retrain_recipe", getattr(scheduler, "retrain_recipe", {})),
        ("retrain.recipe", experiment.retrain.recipe),
    ):
        if override:
            _check_recipe(experiment, recipes, place, override)
    return experiment


def _check_recipe(
    experiment: Experiment, recipes: RecipeSpace, place: str, override: Mapping[str, RecipeValue]
) -> None:
    """Draw some recipes, overridden by the section at `place`, and see whether a network and a training can use them.

    What they cannot is found here, not by every job. Raises ConfigError.
    """
    rng, evaluator = Random(1), experiment.evaluator
    try:
        if hasattr(evaluator, "check_recipe"):
            evaluator.check_recipe(override or recipe_section(experiment), experiment.space.recipe_keys)
        for _ in range(_TRIED):
            recipe = {**recipes.sample(rng), **override}
            experiment.space.check(recipe)
            if hasattr(evaluator, "with_recipe"):
                evaluator.with_recipe(recipe)
    except OptionError as error:
        name = error.key.removeprefix("recipe.")
        ours = name in override or name in recipes.names
        key = f"{place}.{name}" if ours else _place(experiment, "evaluator", name)
        raise ConfigError(experiment.file, key, error.value, error.remedy) from error


def _check_resources(experiment: Experiment, evaluator: Evaluator) -> None:
    """A table knows only some resources: every rung must be one of them. Raises ConfigError."""
    known = getattr(evaluator, "resources", None)
    rungs = sorted({resource for bracket in experiment.scheduler.plan() for resource in bracket.resources})
    for resource in rungs:
        if known is not None and resource not in known:
            remedy = f"has a rung at {resource}, but {describe(experiment.evaluator)['name']} knows only "
            remedy += f"{known[0]} to {known[-1]}" if len(known) > 1 else f"{known[0]}: use full_training"
            raise ConfigError(experiment.file, "scheduler.name", describe(experiment.scheduler)["name"], remedy)


class _Located:
    """Turns an OptionError inside into a ConfigError that names the file, and the section whose option it is."""

    def __init__(self, experiment: Experiment, section: str) -> None:
        self._experiment, self._section = experiment, section

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OptionError) and not isinstance(error, ConfigError):
            key = _place(self._experiment, self._section, error.key)
            raise ConfigError(self._experiment.file, key, error.value, error.remedy) from error


def _place(experiment: Experiment, section: str, key: str) -> str:
    """Where an option stands: a component may refuse another one's, as an evaluator the scheduler's max_resource."""
    for name in (section, *COMPONENTS) if section else ():
        options = getattr(experiment, name)
        if options is not None and key in {field.name for field in dataclasses.fields(options)}:
            return f"{name}.{key}"
    return key
