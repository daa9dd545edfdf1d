"""What is wrong with a platform's document, by the platform's own model of it; an empty list where nothing is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import botocore.session
import botocore.validate
import yaml
from google.protobuf import json_format

Document = Any
"""What JSON and YAML hold; also botocore's shapes, which have no types."""
REPOSITORY = Path(__file__).resolve().parents[2]
CONF = REPOSITORY / "conf"


def read(name: str) -> Document:
    """A JSON or YAML file of conf/; one may not hold a key twice."""
    text = (CONF / name).read_text(encoding="utf-8")
    return yaml.load(text, _Strict) if name.endswith((".yaml", ".yml")) else json.loads(text, object_pairs_hook=_once)


class _Strict(yaml.SafeLoader):
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        return _once(
            [(self.construct_object(k, deep=True), self.construct_object(v, deep=True)) for k, v in node.value]
        )


def _once(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), f"a key stands twice: {[key for key, _ in pairs]}"
    return found


def aws(service: str, operation: str, request: Document) -> list[str]:
    """By botocore's model of the service: unknown keys, missing ones, wrong types, and values that no enum has."""
    shape = _model(service).operation_model(operation).input_shape
    report = botocore.validate.ParamValidator().validate(request, shape).generate_report()
    return [*filter(None, report.splitlines()), *_outside_enums(shape, request, operation)]


@lru_cache
def _model(service: str) -> Document:
    return botocore.session.get_session().get_service_model(service)


def _outside_enums(shape: Document, value: Document, path: str) -> Iterator[str]:
    """botocore itself leaves these to the service."""
    if shape.type_name == "structure" and isinstance(value, dict):
        for key in value.keys() & shape.members.keys():
            yield from _outside_enums(shape.members[key], value[key], f"{path}.{key}")
    elif shape.type_name == "list" and isinstance(value, list):
        for index, item in enumerate(value):
            yield from _outside_enums(shape.member, item, f"{path}[{index}]")
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{path}: {value!r} is none of {shape.enum}"


def dataproc(message: type, document: Document) -> list[str]:
    """By the protocol buffers of the Dataproc API: unknown fields, wrong types, values that no enum has."""
    try:
        json_format.ParseDict(document, message.pb(message()), ignore_unknown_fields=False)
    except json_format.ParseError as error:
        return [str(error)]
    return []


def databricks(data: type, document: Document) -> list[str]:
    """By the SDK's dataclass, which drops what it does not know: so by what does not come back."""
    return list(_lost(document, data.from_dict(document).as_dict(), data.__name__))


def _lost(before: Document, after: Document, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            yield from _lost(before[key], after[key], f"{path}.{key}") if key in after else [f"{path}.{key}"]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _lost(old, new, f"{path}[{index}]")
    elif before != after:
        yield f"{path}: {before!r} became {after!r}"


def misspelt(document: Document, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, Any]]:
    """The document with one key misspelt, for each key at each depth: (where, the document)."""
    items: Iterator[tuple[Any, Any]] = iter(())
    if isinstance(document, dict):
        items = iter(document.items())
        for key in document:
            yield ".".join(map(str, (*path, key))), {(k + "x" if k == key else k): v for k, v in document.items()}
    elif isinstance(document, list):
        items = iter(enumerate(document))
    for key, value in items:
        for where, changed in misspelt(value, (*path, key)):
            copy = dict(document) if isinstance(document, dict) else list(document)
            copy[key] = changed
            yield where, copy


def spark_properties(name: str) -> dict[str, str]:
    """A spark-defaults.conf."""
    lines = [
        line.split(None, 1) for line in (CONF / name).read_text().splitlines() if line and not line.startswith("#")
    ]
    return _once([(key, value.strip()) for key, value in lines])
