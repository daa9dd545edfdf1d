"""Experiment files: YAML in, frozen dataclasses out, and one clear line for everything that is wrong.

A section names a component and gives its options:

    scheduler: {name: asha, max_resource: 27}      # the options are the fields of `Asha`, in its own file

Which names there are is told by `assemble.COMPONENTS`; this module knows only how to read and check.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from spark_nas.errors import ConfigError, OptionError
from spark_nas.object_store import StorageOptions

Components = Mapping[str, Mapping[str, str]]
"""Section -> name -> `module:Class` of the options dataclass."""


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
    data: Any = None
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


_DEFAULT_NAMES = {"sampler": "random", "data": "shards", "engine": "local"}
_OPTIONAL = {"sampler", "data", "engine"}
_PLAIN: Mapping[str, type] = {"name": str, "seed": int}
_SECTIONS: Mapping[str, type] = {"budget": Budget, "retrain": Retrain, "storage": StorageOptions}


def load(file: str | Path, components: Components, overrides: Sequence[str] = ()) -> Experiment:
    """Read and check an experiment file; `overrides` are `key.path=value`, the value in YAML.

    Raises ConfigError for anything wrong, naming the file, the key, the value and the remedy.
    """
    file = str(file)
    raw = _read(file)
    for override in overrides:
        _override(raw, override, file)
    return parse(raw, components, file)


def parse(raw: Mapping[str, Any], components: Components, file: str = "<experiment>") -> Experiment:
    """Check a mapping that came from YAML or from a program."""
    known = [*_PLAIN, *components, "recipe", *_SECTIONS]
    for key in raw:
        if key not in known:
            raise ConfigError(file, str(key), raw[key], f"unknown key{_nearest(str(key), known)}")
    values: dict[str, Any] = {"raw": raw, "file": file}
    for key, kind in _PLAIN.items():
        if key in raw:
            values[key] = _check(raw[key], kind, file, key)
    values.setdefault("name", Path(file).stem)
    if values.get("seed", 1) < 1:
        raise ConfigError(file, "seed", values["seed"], "must be at least 1")
    for section, names in components.items():
        if raw.get(section) is not None or section in _OPTIONAL - {"data"}:
            values[section] = _component(section, names, raw.get(section), file)
        elif section != "data":
            raise ConfigError(file, section, None, f"missing section; one of: {', '.join(sorted(names))}")
    if "recipe" in raw:
        values["recipe"] = _check(raw["recipe"], Mapping[str, object], file, "recipe")
    for section, cls in _SECTIONS.items():
        if section in raw:
            values[section] = build(cls, raw[section], file, section)
    return Experiment(**values)


def build(cls: type[Any], section: object, file: str, path: str) -> Any:
    """An options dataclass from a mapping: keys and types checked, its own checks located in the file."""
    if not isinstance(section, Mapping):
        raise ConfigError(file, path, section, "must be a mapping of options")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
    values = {}
    for key, value in section.items():
        if key not in fields:
            raise ConfigError(file, f"{path}.{key}", value, f"unknown key{_nearest(str(key), list(fields))}")
        values[key] = _check(value, hints[key], file, f"{path}.{key}")
    for name, f in fields.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ConfigError(file, f"{path}.{name}", None, "missing; it has no default")
    try:
        return cls(**values)
    except OptionError as error:
        raise ConfigError(file, f"{path}.{error.key}", error.value, error.remedy) from error


def component_class(dotted: str) -> type[Any]:
    """Import the options dataclass `module:Class`; heavy packages load only when they are named."""
    module, _, name = dotted.partition(":")
    cls: type[Any] = getattr(importlib.import_module(module), name)
    return cls


def _component(section: str, names: Mapping[str, str], value: object, file: str) -> Any:
    if isinstance(value, str) or value is None:
        value = {"name": value} if value else {}
    if not isinstance(value, Mapping):
        raise ConfigError(file, section, value, "must be a name, or a mapping with a name and options")
    name = value.get("name", _DEFAULT_NAMES.get(section))
    if not isinstance(name, str) or name not in names:
        remedy = f"unknown {section}{_nearest(str(name), list(names))}" if name else "needs a name"
        raise ConfigError(file, f"{section}.name", name, f"{remedy}; one of: {', '.join(sorted(names))}")
    options = {key: v for key, v in value.items() if key != "name"}
    try:
        cls = component_class(names[name])
    except ModuleNotFoundError as error:
        raise ConfigError(file, f"{section}.name", name, f"needs the package {error.name!r}; install it") from error
    return build(cls, options, file, section)


def _read(file: str) -> dict[str, Any]:
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise ConfigError(file, "experiment file", file, f"cannot be read: {reason}") from error
    try:
        raw = yaml.load(text, Loader=_Loader)
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


def _override(raw: dict[str, Any], override: str, file: str) -> None:
    path, separator, text = override.partition("=")
    if not separator or not path:
        raise ConfigError(file, "--set", override, "must be key.path=value")
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
    except yaml.YAMLError as error:
        raise ConfigError(file, f"--set {path}", text, "is not a YAML value") from error


def _check(value: object, hint: Any, file: str, path: str) -> Any:
    """`value` as `hint` says, or ConfigError. Lists become tuples; an int passes for a float."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is object:
        return value
    if origin in (types.UnionType, typing.Union):
        return _check_union(value, arguments, file, path)
    if origin is Literal:
        if value not in arguments or type(value) not in map(type, arguments):
            names = ", ".join(map(str, arguments))
            raise ConfigError(file, path, value, f"must be one of: {names}{_nearest(str(value), arguments)}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(file, path, value, "must be a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise ConfigError(file, path, value, f"must be a list of {len(kinds)} values")
        return tuple(_check(v, k, file, f"{path}[{i}]") for i, (v, k) in enumerate(zip(value, kinds, strict=True)))
    if origin in (Mapping, dict):
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ConfigError(file, path, value, "must be a mapping with names as keys")
        return {key: _check(v, arguments[1], file, f"{path}.{key}") for key, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return build(typing.cast("type[Any]", hint), value, file, path)
    return _check_scalar(value, hint, file, path)


def _check_union(value: object, arguments: tuple[Any, ...], file: str, path: str) -> Any:
    if value is None and type(None) in arguments:
        return None
    kinds = [a for a in arguments if a is not type(None)]
    for kind in kinds[:-1]:
        try:
            return _check(value, kind, file, path)
        except ConfigError:
            continue
    return _check(value, kinds[-1], file, path)


def _check_scalar(value: object, kind: type, file: str, path: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= sys.float_info.max:
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise ConfigError(file, path, value, f"must be {words.get(kind, kind.__name__)}, not {type(value).__name__}")
    return value


def _nearest(word: str, known: Sequence[object]) -> str:
    close = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(map(str, known)))}"
