"""Experiment files: YAML in, frozen dataclasses out, and one clear line for everything that is wrong.

A section names a component and gives its options:

    scheduler: {name: asha, max_resource: 27}      # the options are the fields of `Asha`, in its own file

Which names there are is told by `assemble.COMPONENTS`; this module knows only how to read and check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spark_nas.checking import Checker, Components, nearest
from spark_nas.errors import ConfigError, OptionError
from spark_nas.object_store import StorageOptions


@dataclass(frozen=True)
class Budget:
    """When a search stops asking for new jobs; what is in flight then still counts."""

    seconds: float | None = None
    """Wall time of one invocation (virtual time on the simulated engine)."""
    jobs: int | None = None
    """Jobs handed out, over all invocations."""
    resource: int | None = None
    """Units of resource handed out, over all invocations."""
    attempts: int = 3
    """How often a job whose worker vanished is tried before it counts as failed."""
    failures: int = 20
    """A search whose first so many results all failed stops: something is wrong with all of them."""

    def __post_init__(self) -> None:
        for key in ("seconds", "jobs", "resource"):
            value = getattr(self, key)
            if value is not None and not value > 0:  # said this way, NaN is refused too
                raise OptionError(key, value, "must be greater than 0, or left out for no limit")
        for key in ("attempts", "failures"):
            if getattr(self, key) < 1:
                raise OptionError(key, getattr(self, key), "must be at least 1")


@dataclass(frozen=True)
class Retrain:
    """How the best trial is trained again, from scratch, after the search."""

    epochs: int | None = None
    """None trains for the scheduler's max_resource."""
    seeds: int = 1
    """Independent trainings; mean and spread are reported."""
    use_valid: bool = True
    """Train on the training and the validation split; the test split is only ever looked at here, once."""
    recipe: Mapping[str, int | float | str | bool] = field(default_factory=dict)
    """Overrides the trial's: the larger network, the heavier regularisation of a final training."""

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise OptionError("epochs", self.epochs, "must be at least 1")
        if self.seeds < 1:
            raise OptionError("seeds", self.seeds, "must be at least 1")


@dataclass(frozen=True)
class Experiment:
    """One experiment file, checked. The component sections hold their options dataclasses."""

    name: str
    space: Any  # the options dataclass that assemble.COMPONENTS names; so with the others
    scheduler: Any
    evaluator: Any
    engine: Any
    sampler: Any = None
    method: Any = None
    """How the open choices of supernets are searched; None where there are none."""
    data: Any = None
    tracking: Any = None
    """In which tool the search is shown besides; None in none."""
    recipe: Mapping[str, object] = field(default_factory=dict)
    """Adds to and overrides the space's own recipe; see `spaces.recipes`."""
    seed: int = 1
    """All seeds of the search are derived from it."""
    budget: Budget = Budget()
    retrain: Retrain = Retrain()
    storage: StorageOptions = field(default_factory=StorageOptions)
    """How object stores are reached, for data and output alike."""
    raw: Mapping[str, object] = field(default_factory=dict)
    """The file as read, with overrides: what `run.json` keeps."""
    file: str = ""


_BY_DEFAULT = {"sampler", "engine"}
_MAY_BE_MISSING = {"data", "method", "tracking"}
_PLAIN: Mapping[str, type] = {"name": str, "seed": int}
_SECTIONS: Mapping[str, type] = {"budget": Budget, "retrain": Retrain, "storage": StorageOptions}


def load(file: str | Path, components: Components, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file; `overrides` are `key.path=value`, the value in YAML.

    Raises ConfigError for anything wrong, naming the file, the key, the value and the remedy.
    """
    file = str(file)
    raw = read(file)
    for override in overrides:
        set_value(raw, override, file)
    return parse(raw, components, file, (Path(file).resolve().parent, Path.cwd()))


def parse(
    raw: Mapping[str, Any], components: Components, file: str = "<experiment>", folders: Sequence[Path] = ()
) -> Experiment:
    """Check a mapping that came from YAML or from a program.

    `folders` are where its modules are looked for besides Python's path: none for what came from a store, lest whoever
    writes there choose a file of this machine to be run.
    """
    _refuse_unwritable(raw, file)
    checker = Checker(file, components, folders)
    known = [*_PLAIN, *components, "recipe", *_SECTIONS]
    for key in raw:
        if key not in known:
            raise ConfigError(file, str(key), raw[key], f"unknown key{nearest(str(key), known)}")
    values: dict[str, Any] = {"raw": raw, "file": file}
    for key, kind in _PLAIN.items():
        if key in raw:
            values[key] = checker.check(raw[key], kind, key)
    values.setdefault("name", Path(file).stem)
    if values.get("seed", 1) < 1:
        raise ConfigError(file, "seed", values["seed"], "must be at least 1")
    for section, names in components.items():
        if raw.get(section) is not None or section in _BY_DEFAULT:
            values[section] = checker.component(section, raw.get(section))
        elif section not in _MAY_BE_MISSING:
            raise ConfigError(file, section, None, f"missing section; one of: {', '.join(sorted(names))}")
    if "recipe" in raw:
        values["recipe"] = checker.check(raw["recipe"], Mapping[str, object], "recipe")
    for section, cls in _SECTIONS.items():
        if section in raw:
            values[section] = checker.build(cls, raw[section], section)
    return Experiment(**values)


def _refuse_unwritable(raw: Mapping[str, Any], file: str) -> None:
    """Refuse a lone surrogate here, for otherwise it is met when the first result is written."""
    for path, text in _texts(raw):
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            remedy = "holds half a character, which cannot be written: give the character itself, or \\UXXXXXXXX"
            raise ConfigError(file, path or "experiment file", text, remedy)


def _texts(raw: object) -> Iterator[tuple[str, str]]:
    """All texts in it, keys too, each with the path of its place; what YAML refers to often, or within itself, once."""
    seen: set[int] = set()
    places: list[tuple[str, object]] = [("", raw)]
    while places:
        path, value = places.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, Mapping | list | tuple | set) and id(value) not in seen:
            seen.add(id(value))
            inside: list[tuple[str, object]] = []
            if isinstance(value, Mapping):
                for key, entry in value.items():
                    inside += [(path, key), (f"{path}.{key}" if path else str(key), entry)]
            else:
                inside = [(f"{path}[{i}]", entry) for i, entry in enumerate(value)]
            places += reversed(inside)


_TOO_DEEP = "is nested too deeply"


def read(file: str) -> dict[str, Any]:
    """The mapping in an experiment file, unchecked. Raises ConfigError for a file that holds none."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(file, "experiment file", file, f"cannot be read: {reason}") from error
    try:
        raw = yaml.load(text, Loader=_Loader)
    except ValueError as error:  # what looks like a date, say, and is none
        raise ConfigError(file, "experiment file", file, f"not valid YAML: {error}: put it in quotes") from error
    except RecursionError as error:
        raise ConfigError(file, "experiment file", file, _TOO_DEEP) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        raise ConfigError(file, where, getattr(error, "problem", ""), "not valid YAML") from error
    if not isinstance(raw, dict):
        raise ConfigError(file, "experiment file", raw, "must be a mapping of sections")
    return raw


class _Loader(yaml.SafeLoader):
    """SafeLoader that takes `1e-3` for a number (YAML 1.1 asks for `1.0e-3`) and refuses a repeated key."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key!r} stands twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(loader.construct_scalar(node))


_Loader.add_implicit_resolver(
    "tag:spark_nas,float", re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)
_Loader.add_constructor("tag:spark_nas,float", _number)


def set_value(raw: dict[str, Any], setting: str, file: str) -> None:
    """Set what `--set` says, `key.path=value`, in a mapping of sections. Raises ConfigError where that cannot be."""
    path, separator, text = setting.partition("=")
    if not separator or not path:
        raise ConfigError(file, "--set", setting, "must be key.path=value")
    keys = path.split(".")
    place: Any = raw
    for depth, key in enumerate(keys[:-1]):
        if place.get(key) is None:
            place[key] = {}
        elif isinstance(place[key], str):
            place[key] = {"name": place[key]}
        place = place[key]
        if not isinstance(place, dict):
            raise ConfigError(file, ".".join(keys[: depth + 1]), place, f"--set {path}: is not a section")
    try:
        place[keys[-1]] = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(file, f"--set {path}", text, "is not a YAML value") from error
    except RecursionError as error:
        raise ConfigError(file, f"--set {path}", f"{text[:40]}...", _TOO_DEEP) from error
