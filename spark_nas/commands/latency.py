"""`spark-nas latency`: measure on this device what each option of an experiment's space takes, into a JSON table.

ProxylessNAS and SNAS read such a table. Run it where the network will run: on an executor's GPU, on a phone's CPU.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from random import Random

from spark_nas.assemble import build_recipes, load_experiment
from spark_nas.config import Experiment
from spark_nas.errors import OutputError, UsageError

_MEASURABLE = (
    "method=random_sharing",
    "scheduler={name: one_shot, supernets: {name: full_training, trials: 1, max_resource: 1}}",
)
"""The options of a space are those of its supernet, however it is searched; and the experiment's own method may want
the very table that is to be measured."""
HELP = "measure the latency of every option of a space on this device"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """EXPERIMENT, --output, --input-shape, --batch-size, --repeats, --device, --processor-time, --set."""
    parser.add_argument("experiment", help="experiment file (YAML); its space is measured")
    parser.add_argument("--output", required=True, help="the JSON file to write")
    parser.add_argument("--input-shape", help="C,H,W of an example, instead of that of the experiment's data")
    parser.add_argument("--batch-size", type=int, default=1, help="examples at a time (default: 1)")
    parser.add_argument("--repeats", type=int, default=30, help="runs of each option; the fastest counts (default: 30)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "--processor-time", action="store_true", help="time of one CPU thread instead of wall time, for busy machines"
    )
    parser.add_argument("--set", action="append", default=[], metavar="KEY.PATH=VALUE", help="override a value")


def execute(arguments: argparse.Namespace) -> int:
    """Measure, write the table, and say how much there is to choose between."""
    from spark_nas.evaluation.latency import measure_space

    experiment = load_experiment(arguments.experiment, [*arguments.set, *_MEASURABLE])
    table = measure_space(
        experiment.space,
        build_recipes(experiment).sample(Random(experiment.seed)),
        _input_shape(experiment, arguments),
        device=arguments.device,
        batch_size=arguments.batch_size,
        repeats=arguments.repeats,
        processor_time=arguments.processor_time,
    )
    try:
        Path(arguments.output).write_text(table.to_json() + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"--output {arguments.output}: cannot be written: {error.strerror}") from error
    fastest = table.fixed + sum(min(options.values()) for options in table.options.values())
    slowest = table.fixed + sum(max(options.values()) for options in table.options.values())
    print(f"{arguments.output}: networks of {experiment.name} take {fastest:.2f} to {slowest:.2f} ms on this device")
    return 0


def _input_shape(experiment: Experiment, arguments: argparse.Namespace) -> tuple[int, ...]:
    if arguments.input_shape is None:
        if experiment.data is None:
            raise UsageError("--input-shape: give C,H,W, as the experiment has no data")
        shape: tuple[int, ...] = experiment.data.build(experiment.storage.resolved()).input_shape
        return shape
    try:
        return tuple(int(side) for side in arguments.input_shape.split(","))
    except ValueError:
        raise UsageError(f"--input-shape {arguments.input_shape}: must be whole numbers, for example 3,32,32") from None
