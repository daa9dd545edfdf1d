"""What the tests of bad input have in common: an experiment, command lines, and a look at what they changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

GOOD = """\
space: mlp
scheduler: {name: hyperband, max_resource: 3}
evaluator: synthetic
"""
TRAINING = ("evaluator=training", "data.path={tmp}/data")


def contents(folder: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def active_context() -> object:
    from pyspark import SparkContext

    return SparkContext._active_spark_context


def search(*overrides: str, file: str = "{tmp}/good.yaml", output: str = "{tmp}/runs", run_id: str = "new"):
    sets = [argument for override in overrides for argument in ("--set", override)]
    return ["search", file, "--output", output, "--run-id", run_id, *sets]
