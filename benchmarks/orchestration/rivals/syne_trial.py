"""What Syne Tune starts for each trial."""

from __future__ import annotations

import argparse
import json
import os

from syne_tune import Reporter

from benchmarks.orchestration.objective import SPACE, Configuration, Workload, epochs, train_epoch


def main() -> None:
    """An epoch at a time, reporting each."""
    parser = argparse.ArgumentParser()
    for name in SPACE:
        parser.add_argument(f"--{name}", type=float, required=True)
    values, _ = parser.parse_known_args()
    told = json.loads(os.environ["ORCHESTRATION"])
    workload, report = Workload(**told["workload"]), Reporter()
    configuration = Configuration(*(getattr(values, name) for name in SPACE))
    for epoch in epochs(workload):
        loss = train_epoch(workload, told["folder"], configuration, epoch)
        report(epoch=epoch, loss=loss)


if __name__ == "__main__":
    main()
