"""The public surface, `spark_nas.api.__all__`, as Markdown: signatures, docstrings, fields, properties and methods.

The docstrings are plain text with Markdown's backticks and indented examples, and so are read as Markdown; an RST
reader would take every name in backticks for a title.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
from collections.abc import Callable
from functools import cached_property
from typing import Any

from docs.tools.options import anchor, components, field_texts, prose, sections
from spark_nas import api
from spark_nas.assemble import COMPONENTS

PAGES = {
    "space": "spaces",
    "sampler": "samplers",
    "scheduler": "schedulers",
    "method": "methods",
    "evaluator": "evaluators",
    "engine": "engines",
    "data": "data",
    "tracking": "tracking",
}
"""Axis -> its page in docs/reference; an axis that is new gets a page of its own name."""


BAR = "\\|"
"""A bar inside a cell of a table."""


def page_of(section: str) -> str:
    """The name of an axis's page, without its ending."""
    return PAGES.get(section, section)


def page() -> str:
    """Everything public."""
    places = {cls: (page_of(axis), anchor(axis, name)) for axis in COMPONENTS for name, cls in components(axis)}
    places |= {cls: ("experiment", anchor("section", name)) for name, cls in sections().items()}
    public = [(name, getattr(api, name)) for name in api.__all__]
    functions = [_function(name, value) for name, value in public if inspect.isfunction(value)]
    others = [_class(n, value) for n, value in public if inspect.isclass(value) and value not in places]
    listed = [
        f"- [`{name}`]({page}.md#{place}): {_first_line(value)}"
        for name, value in public
        if value in places
        for page, place in [places[value]]
    ]
    parts = [prose(inspect.getdoc(api) or ""), "## Functions", *functions, "## Results, records and bases", *others]
    return "\n\n".join([*parts, "## Options of components and sections", "\n".join(listed)])


def _first_line(value: object) -> str:
    return prose((inspect.getdoc(value) or "").split("\n", maxsplit=1)[0])


def _described(value: object) -> str:
    return prose(inspect.getdoc(value) or "")


def _function(name: str, function: Callable[..., Any]) -> str:
    return f"(call-{name})=\n### `{name}`\n\n{signature(f'spark_nas.{name}', function)}\n\n{_described(function)}"


def signature(name: str, function: Callable[..., Any], *, bound: bool = False) -> str:
    """A call in Python, one argument a line where it would be long."""
    found = inspect.signature(function)
    arguments, starred = [], False
    for parameter in list(found.parameters.values())[1 if bound else 0 :]:
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            arguments.append("*")
            starred = True
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        kind = "" if parameter.annotation is parameter.empty else f": {_type(parameter.annotation)}"
        arguments.append(f"{parameter.name}{kind}{default if kind else default.replace(' ', '')}")
    returns = "" if found.return_annotation is found.empty else f" -> {_type(found.return_annotation)}"
    one = f"{name}({', '.join(arguments)}){returns}"
    if len(one) > 90:
        one = f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + f"){returns}"
    return f"```python\n{one}\n```"


def _type(annotation: object) -> str:
    return annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))


def _class(name: str, cls: type[Any]) -> str:
    module = importlib.import_module(cls.__module__)
    alone = [name] == [n for n in api.__all__ if getattr(getattr(api, n), "__module__", "") == cls.__module__]
    about = prose(inspect.getdoc(module) or "") if alone else ""  # says the rest where it is about this class only
    parts = [f"(api-{name.lower()})=\n### `{name}`", about, _described(cls)]
    lines = _fields(cls)
    methods = []
    for key, value in _members(cls):
        if isinstance(value, property | cached_property):
            getter = value.fget if isinstance(value, property) else value.func
            kind = _type(inspect.signature(getter).return_annotation) if getter else ""
            lines.append(f"| `{key}` | `{kind.replace('|', BAR)}` | {_cell(value)} |")
        elif inspect.isfunction(function := getattr(value, "__func__", value)):
            bound = not isinstance(value, staticmethod)
            methods.append(f"{signature(f'{name}.{key}', function, bound=bound)}\n\n{_described(function)}")
    if lines:
        parts.append("\n".join(["| attribute | type | what |", "|---|---|---|", *(line for line in lines)]))
    return "\n\n".join([*parts, *methods])


def _fields(cls: type[Any]) -> list[str]:
    if not dataclasses.is_dataclass(cls):
        return []
    texts = field_texts(cls)
    fields = [(f.name, _type(f.type).replace("|", BAR), texts.get(f.name, "")) for f in dataclasses.fields(cls)]
    return [f"| `{key}` | `{kind}` | {_line(text)} |" for key, kind, text in fields]


def _members(cls: type[Any]) -> list[tuple[str, Any]]:
    """Public properties and methods, those of our own bases included, in the order of the source."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("spark_nas"):
            found.update({k: v for k, v in vars(base).items() if not k.startswith("_")})
    return [(k, v) for k, v in found.items() if inspect.getdoc(v) and (callable(v) or not isinstance(v, str | tuple))]


def _cell(value: object) -> str:
    return _line(inspect.getdoc(value) or "")


def _line(text: str) -> str:
    """A text as a cell of a table."""
    return prose(" ".join(text.split())).replace("|", BAR)
