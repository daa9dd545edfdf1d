"""What the harness starts in a contestant's own environment: one workload, one contestant, one call.

    python -m benchmarks.orchestration.run MODULE WORKLOAD FOLDER [SETTING=VALUE...]

The contestant's imports come before the clock; everything that its call starts itself (worker processes, Spark, Ray)
comes after. The call's own account, `call.json` in FOLDER, holds only what no one else can know: how long it took, and
how much memory this process, the driver, has had at most.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from pathlib import Path

from benchmarks.measure import peak_megabytes
from benchmarks.orchestration.objective import Workload


def main(arguments: list[str]) -> None:
    """Run it."""
    module, workload, folder, *settings = arguments
    contestant = importlib.import_module(f"benchmarks.orchestration.rivals.{module}")
    place = Path(folder)
    began = time.monotonic()
    contestant.search(Workload(**json.loads(workload)), place, **dict(setting.split("=") for setting in settings))
    account = {"seconds": time.monotonic() - began, "driver_megabytes": peak_megabytes()}
    (place / "call.json").write_text(json.dumps(account), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
