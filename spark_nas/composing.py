"""From what a program says of an experiment to the experiment: a file or a mapping, with options objects for sections.

Objects are written down as a file would have them and read like one, so that there is one way in, and whatever a
program can begin a command can continue. What no file can hold is refused here.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spark_nas.assemble import COMPONENTS, describe, parse_experiment
from spark_nas.checking import component_class
from spark_nas.config import Experiment, read
from spark_nas.errors import ConfigError, OptionError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_PROGRAM = "<experiment>"
"""Stands in messages where the name of an experiment file would."""
_ON_SPARK = {"name": "spark_async"}
"""The engine where there is a session and nothing else is said: it suits every scheduler."""


def compose(
    experiment: str | Path | Mapping[str, Any] | None,
    sections: Mapping[str, object],
    spark: SparkSession | None = None,
) -> Experiment:
    """An experiment from a file or a mapping, with the sections that are not None instead of its own; checked.

    Raises ConfigError, and OptionError for an object that is no component.
    """
    if isinstance(experiment, str | Path):
        file, raw = str(experiment), read(str(experiment))
        raw.setdefault("name", Path(file).stem)
    elif experiment is not None and not isinstance(experiment, Mapping):
        raise OptionError("experiment", experiment, "give a file, or a mapping of sections")
    else:
        file, raw = _PROGRAM, {"name": "search", **(experiment or {})}
    raw = {key: _written(key, value) for key, value in raw.items()}
    raw |= {key: _written(key, value) for key, value in sections.items() if value is not None}
    if spark is not None:
        raw.setdefault("engine", _ON_SPARK)
    checked = parse_experiment(raw, file)
    check_session(checked, spark)
    return checked


def _written(section: str, value: object) -> object:
    """A section as a file would have it. Raises OptionError."""
    if section == "data" and isinstance(value, str | Path):
        value = {"path": str(value)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = _described(section, value) if section in COMPONENTS else dataclasses.asdict(value)
    try:
        return json.loads(json.dumps(value, default=_plain))
    except (TypeError, ValueError) as error:
        remedy = f"give a name, a mapping, or an options dataclass that a file can hold: {error}"
        raise OptionError(section, value, remedy) from error


def _described(section: str, options: Any) -> dict[str, Any]:  # noqa: ANN401 - any options dataclass
    """Name and options of a component, which can be made anew from them. Raises OptionError."""
    described = describe(options)
    dotted = f"{type(options).__module__}:{type(options).__qualname__}"
    try:
        known = component_class(dotted)
    except OptionError as error:
        raise OptionError(section, dotted, error.remedy) from error
    if known is not type(options):
        raise OptionError(section, dotted, "its class has been defined again since it was made: make it anew")
    return described


def _plain(value: object) -> object:
    """What JSON does not know, and a file can hold."""
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{value!r} is neither a number, a text, a list nor a mapping")


def takes_session(engine: Any) -> bool:  # noqa: ANN401 - any engine's options dataclass
    """Whether an engine runs on Spark: then it is built with a session, also one of the user's own."""
    return "spark" in inspect.signature(engine.build).parameters


def check_session(experiment: Experiment, spark: SparkSession | None) -> None:
    """An engine of this process has no use for a session. Raises ConfigError."""
    if spark is not None and not takes_session(experiment.engine):
        name = describe(experiment.engine)["name"]
        raise ConfigError(experiment.file, "engine.name", name, "runs without Spark: leave out spark, or take another")
