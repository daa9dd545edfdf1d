"""From the mappings of an experiment file to frozen dataclasses: keys and types checked, components found by name.

A field annotated as `Annotated[Any, "scheduler"]` holds another scheduler, given by its name and options as a section.
Instead of a name, a component of one's own is given as `module:Class`, found as `own_modules` says.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from spark_nas.errors import ConfigError, OptionError
from spark_nas.own_modules import import_own

Components = Mapping[str, Mapping[str, str]]
"""Section -> name -> `module:Class` of the options dataclass."""

_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_DEFAULT_NAMES = {"sampler": "random", "data": "shards", "engine": "local"}


@dataclass(frozen=True)
class Checker:
    """Checks the values of one file. Everything wrong is a ConfigError that names file, key, value and remedy."""

    file: str
    components: Components = field(default_factory=dict)
    folders: Sequence[Path] = ()
    """Where modules of the user's own may be found that are not on Python's path (`own_modules`)."""

    def build(self, cls: type[Any], section: object, path: str) -> Any:
        """An options dataclass from a mapping, its own checks located in the file."""
        if not isinstance(section, Mapping):
            raise ConfigError(self.file, path, section, "must be a mapping of options")
        hints = typing.get_type_hints(cls, include_extras=True)
        fields = {f.name: f for f in dataclasses.fields(cls) if f.init}
        values = {}
        for key, value in section.items():
            if key not in fields:
                raise ConfigError(self.file, f"{path}.{key}", value, f"unknown key{nearest(str(key), list(fields))}")
            values[key] = self.check(value, hints[key], f"{path}.{key}")
        for name, f in fields.items():
            if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
                raise ConfigError(self.file, f"{path}.{name}", None, "missing; it has no default")
        try:
            return cls(**values)
        except OptionError as error:
            raise ConfigError(self.file, f"{path}.{error.key}", error.value, error.remedy) from error

    def component(self, section: str, value: object, path: str | None = None) -> Any:
        """The options dataclass of a component: `value` is its name, or a mapping with a name and options."""
        path, names = path or section, self.components.get(section, {})
        if isinstance(value, str) or value is None:
            value = {"name": value} if value else {}
        if not isinstance(value, Mapping):
            raise ConfigError(self.file, path, value, "must be a name, or a mapping with a name and options")
        name = value.get("name", _DEFAULT_NAMES.get(section))
        own = isinstance(name, str) and ":" in name
        if not own and (not isinstance(name, str) or name not in names):
            remedy = f"unknown {section}{nearest(str(name), list(names))}" if name else "needs a name"
            known = f"one of: {', '.join(sorted(names))}"
            raise ConfigError(self.file, f"{path}.name", name, f"{remedy}; {known}")
        options = {key: v for key, v in value.items() if key != "name"}
        try:
            cls = component_class(name, self.folders) if own else component_class(names[name])
        except ModuleNotFoundError as error:
            remedy = f"needs the package {error.name!r}; install it"
            if own and error.name == name.partition(":")[0].partition(".")[0]:
                where = ["on Python's path", *(f"in {folder}" for folder in dict.fromkeys(self.folders))]
                remedy = f"no module {error.name!r} {', or '.join(where)}"
            raise ConfigError(self.file, f"{path}.name", name, remedy) from error
        except OptionError as error:
            raise ConfigError(self.file, f"{path}.name", name, error.remedy) from error
        return self.build(cls, options, path)

    def check(self, value: object, hint: Any, path: str) -> Any:
        """`value` as `hint` says, or ConfigError. Lists become tuples; an int passes for a float."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any or hint is object:
            return value
        if origin is Annotated:
            return self.component(arguments[1], value, path)
        if origin in (types.UnionType, typing.Union):
            return self._union(value, arguments, path)
        if origin is Literal:
            if value not in arguments or type(value) not in map(type, arguments):
                names = ", ".join(map(str, arguments))
                raise ConfigError(self.file, path, value, f"must be one of: {names}{nearest(str(value), arguments)}")
            return value
        if origin is tuple:
            return self._tuple(value, arguments, path)
        if origin is list:
            return list(self._tuple(value, (*arguments, ...), path))
        if origin in (Mapping, dict):
            if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
                raise ConfigError(self.file, path, value, "must be a mapping with names as keys")
            return {key: self.check(v, arguments[1], f"{path}.{key}") for key, v in value.items()}
        if dataclasses.is_dataclass(hint):
            return self.build(typing.cast("type[Any]", hint), value, path)
        return self._scalar(value, hint, path)

    def _tuple(self, value: object, arguments: tuple[Any, ...], path: str) -> Any:
        if not isinstance(value, list | tuple):
            raise ConfigError(self.file, path, value, "must be a list")
        kinds = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else list(arguments)
        if len(kinds) != len(value):
            raise ConfigError(self.file, path, value, f"must be a list of {len(kinds)} values")
        return tuple(self.check(v, k, f"{path}[{i}]") for i, (v, k) in enumerate(zip(value, kinds, strict=True)))

    def _union(self, value: object, arguments: tuple[Any, ...], path: str) -> Any:
        if value is None and type(None) in arguments:
            return None
        kinds = [a for a in arguments if a is not type(None)]
        for kind in kinds[:-1]:
            try:
                return self.check(value, kind, path)
            except ConfigError:
                continue
        try:
            return self.check(value, kinds[-1], path)
        except ConfigError:
            if len(kinds) == 1 or not all(kind in _WORDS for kind in kinds):
                raise
        raise ConfigError(self.file, path, value, "must be " + " or ".join(_WORDS[kind] for kind in kinds))

    def _scalar(self, value: object, kind: type, path: str) -> object:
        number = isinstance(value, int) and not isinstance(value, bool)
        if kind is float and number and abs(typing.cast("int", value)) <= sys.float_info.max:
            return float(typing.cast("int", value))
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            remedy = f"must be {_WORDS.get(kind, kind.__name__)}, not {type(value).__name__}"
            raise ConfigError(self.file, path, value, remedy)
        return value


def component_class(dotted: str, folders: Sequence[Path] = ()) -> type[Any]:
    """Import the options dataclass `module:Class`; heavy packages load only when they are named.

    `folders` are where a module is looked for that is not on Python's path. Raises ModuleNotFoundError, and OptionError
    for what is no such class.
    """
    module, _, name = dotted.partition(":")
    cls = getattr(import_own(module, folders), name, None) if module else None
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and hasattr(cls, "build")):
        remedy = "must be module:Class, a dataclass at the top level of its module with a method build"
        raise OptionError("name", dotted, remedy)
    return cls


def nearest(word: str, known: Sequence[object]) -> str:
    """How a message goes on after an unknown word: with the one that was probably meant, or with all there are."""
    close = difflib.get_close_matches(word, [str(k) for k in known], n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(map(str, known)))}"
