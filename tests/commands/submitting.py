"""Command lines of `spark-nas submit`, one for each kind of request."""

from __future__ import annotations

from pathlib import Path

from tests.platforms.schemas import CONF

GOOD = """\
space: mlp
scheduler: {name: hyperband, max_resource: 3}
evaluator: synthetic
engine: spark_async
"""
WHERE = {
    "emr": ["--cluster", "j-1"],
    "emr new": ["--new-cluster", str(CONF / "emr/cluster.json")],
    "emr-serverless": ["--application", "a1", "--role", "arn:aws:iam::1:role/nas"],
    "dataproc": ["--project", "p", "--region", "r", "--cluster", "c"],
    "dataproc batch": ["--project", "p", "--region", "r"],
    "databricks": [],
    "databricks there": ["--cluster", "0101-abc"],
}


def written(folder: Path) -> Path:
    """An experiment file that every platform takes."""
    (folder / "good.yaml").write_text(GOOD)
    return folder / "good.yaml"


def words(case: str, experiment: Path, *more: str, output: str | None = None, checked: bool = False) -> list[str]:
    """The command for a case of `WHERE`; what is said in `more` again counts. The output is on a mount, if anywhere."""
    place = ["--output", output or str(experiment.parent / "runs"), "--run-id", "night", "--code", "s3://b/code"]
    place += [] if checked else ["--unchecked"]
    return ["submit", case.partition(" ")[0], str(experiment), *place, *WHERE[case], *more]
