"""Every option of every component as Markdown, made from the options dataclasses themselves and so never stale.

A component is what `spark_nas.assemble.COMPONENTS` names. The page of its axis shows what its module and class say of
themselves, and one line a field: name, kind, default and the text under the field.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import json
import re
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from spark_nas.assemble import COMPONENTS
from spark_nas.checking import component_class
from spark_nas.config import Experiment

_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", object: "anything"}


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of an options dataclass, in words."""

    name: str
    kind: str
    default: str
    """As an experiment file would have it; empty where there is none."""
    text: str


def options_of(cls: type[Any]) -> list[Option]:
    """The fields that can be given, in their order."""
    hints = typing.get_type_hints(cls, include_extras=True)
    texts = field_texts(cls)
    return [
        Option(f.name, kind_of(hints[f.name]), _default(f), texts.get(f.name, ""))
        for f in dataclasses.fields(cls)
        if f.init
    ]


def field_texts(cls: type[Any]) -> dict[str, str]:
    """Field -> the text that stands under it in the source of the class, or of the base that has it."""
    texts: dict[str, str] = {}
    for base in reversed([base for base in cls.__mro__ if base.__module__.startswith("spark_nas")]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else None
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, str):
                texts[field.target.id] = inspect.cleandoc(text)
    return texts


def kind_of(hint: Any) -> str:  # noqa: ANN401 - any annotation
    """An annotation in the words of an experiment file."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return f"{arguments[1]}"
    if origin is Literal:
        return " / ".join(f"`{value}`" for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if kind is type(None) else kind_of(kind) for kind in arguments)
    if origin in (tuple, list):
        return f"list of {kind_of(arguments[0])}"
    if origin is not None and issubclass(origin, Mapping):
        return f"mapping to {kind_of(arguments[1])}"
    return _WORDS.get(hint) or f"{getattr(hint, '__name__', hint)}".lower()


def _default(field: dataclasses.Field[Any]) -> str:
    """The default as JSON, which YAML reads; a component as its name and options."""
    value = field.default
    if value is dataclasses.MISSING:
        if field.default_factory is dataclasses.MISSING:
            return ""
        value = field.default_factory()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return f"`{json.dumps(value, default=list)}`"


def table(cls: type[Any]) -> str:
    """The options of a class as a Markdown table."""
    rows = [f"| `{o.name}` | {o.kind} | {o.default or 'needed'} | {_cell(o.text)} |" for o in options_of(cls)]
    if not rows:
        return "No options."
    return "\n".join(["| option | kind | default | what |", "|---|---|---|---|", *rows])


def _cell(text: str) -> str:
    return prose(" ".join(text.split())).replace("|", "\\|")


def prose(text: str) -> str:
    """A docstring as Markdown: what is not code keeps its angle brackets, asterisks and underscores as they stand."""
    blocks = []
    for block in re.split(r"\n{2,}", text):
        if block.startswith(">>>"):
            blocks.append(f"```pycon\n{block}\n```")
            continue
        if block.startswith("    ") or all(line.startswith(" ") for line in block.splitlines() if line):
            blocks.append(block)
            continue
        parts = re.split(r"(`[^`]*`)", block)
        blocks.append("".join(p if p.startswith("`") else re.sub(r"([<>*\[\]])", r"\\\1", p) for p in parts))
    return "\n\n".join(blocks)


def components(section: str) -> Iterator[tuple[str, type[Any]]]:
    """Name and options class of each component of an axis."""
    for name, dotted in COMPONENTS[section].items():
        yield name, component_class(dotted)


def anchor(section: str, name: str) -> str:
    """Where a component stands on the page of its axis."""
    return f"{section}-{name}".replace("_", "-")


def page(section: str) -> str:
    """All components of an axis."""
    return "\n\n".join(_component(section, name, cls) for name, cls in components(section))


def sections() -> dict[str, type[Any]]:
    """The sections of an experiment that are no components but plain options."""
    hints = typing.get_type_hints(Experiment)
    return {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}


def sections_page() -> str:
    """The options of these sections."""
    return "\n\n".join(
        f"({anchor('section', name)})=\n## `{name}`\n\n{prose(inspect.getdoc(cls) or '')}\n\n{table(cls)}"
        for name, cls in sections().items()
    )


def _component(section: str, name: str, cls: type[Any]) -> str:
    module = inspect.getdoc(importlib.import_module(cls.__module__)) or ""
    where = f"*{section}:* `{{name: {name}}}`, class `{cls.__module__}.{cls.__qualname__}`"
    own = inspect.getdoc(cls) or ""
    return "\n\n".join([f"({anchor(section, name)})=\n## `{name}`", where, prose(module), prose(own), table(cls)])
